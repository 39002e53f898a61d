// Movies as they are shown: posters, facts, stars, and scores as bars.
import { about } from "./api.js";
import { h, number } from "./dom.js";

const order = ["linear", "popularity", "rating", "sequential", "visual_temporal", "genres", "tags", "director"];

/** The class of a model's color; models of other names are colored in the order in which they are first named here. */
export function color(model) {
  if (!order.includes(model)) order.push(model);
  return `m${order.indexOf(model) % 8}`;
}

export const modelName = (model) => model.replaceAll("_", " ");

/** A card with the title; the poster lies over it where there is one. */
export function poster(item, width = 92) {
  const card = h(
    "span",
    { class: "poster", "aria-hidden": "true" },
    h("span", { class: "card" }, h("bdi", {}, item.title), item.year ? h("span", {}, `${item.year}`) : null),
  );
  card.style.setProperty(
    "--hue",
    [...item.id].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) % 360, 7),
  );
  about.then(({ posters }) => {
    if (!posters || !item.posterUrl || item.posterUrl.includes("://")) return;
    const path = item.posterUrl.split("/").map(encodeURIComponent).join("/");
    const image = h("img", { alt: "", loading: "lazy", decoding: "async", width, height: Math.round(1.5 * width) });
    image.addEventListener("load", () => card.classList.add("loaded"));
    image.addEventListener("error", () => image.remove());
    image.src = `/posters/${path}?w=${width}`;
    card.append(image);
  });
  return card;
}

export const titleLink = (item) =>
  h("a", { class: "title", href: `/title?id=${encodeURIComponent(item.id)}` }, h("bdi", {}, item.title));

/** Year, genres, director in a line. */
export function facts(item) {
  const director = item.director?.split("|").join(" and ");
  const parts = [item.year, item.genres?.join(", "), director && `by ${director}`];
  return h("p", { class: "facts" }, h("bdi", {}, parts.filter(Boolean).join(" · ")));
}

const MAX_STARS = 11;

/** The rating that each star stands for, lowest first, on the scale that GetStatus tells: whole ones, or five at even distances. */
export function starValues({ lowest = 0, highest = 0, step = 0 } = { lowest: 1, highest: 5, step: 1 }) {
  let start = step < 1 ? Math.ceil(lowest) : lowest,
    distance = Math.max(step, 1),
    count = 1 + Math.floor((highest - start) / distance);
  if (count < 2 || count > MAX_STARS) {
    start = lowest;
    count = 5;
    distance = (highest - lowest) / (count - 1);
  }
  return Array.from({ length: count }, (_, star) => Number((start + star * distance).toPrecision(6)));
}

/** A button for each star, once `values`, a promise of what they stand for, resolves; stars up to `given` are filled. */
export function stars(item, given, rate, values) {
  const button = (value, highest) =>
    h(
      "button",
      {
        type: "button",
        class: value <= given ? "star on" : "star",
        "aria-label": `Rate ${item.title} ${value} of ${highest}`,
        "aria-pressed": String(value === given),
        title: `${value} of ${highest}`,
        on: { click: () => rate(value) },
      },
      "★",
    );
  const group = h("span", { class: "stars", role: "group", "aria-label": `Your rating of ${item.title}` });
  values.then((all) => group.append(...all.map((value) => button(value, all.at(-1)))));
  return group;
}

/** How long bars are: the largest sums of positive and of negative parts in the list. */
export function scale(items) {
  let up = 0,
    down = 0;
  for (const { explanation } of items) {
    const parts = (explanation?.contributions ?? []).map((part) => part.contribution ?? 0);
    up = Math.max(
      up,
      parts.filter((part) => part > 0).reduce((a, b) => a + b, 0),
    );
    down = Math.max(down, -parts.filter((part) => part < 0).reduce((a, b) => a + b, 0));
  }
  return { up, down, span: up + down || 1 };
}

const isShown = (part, span) => Math.abs(part.contribution ?? 0) / span >= 0.002;

/** The models that have a part in the bars of a list. */
export function modelsOf(items, { span }) {
  const parts = items.flatMap(({ explanation }) => explanation?.contributions ?? []);
  const models = new Set(parts.filter((part) => isShown(part, span)).map((part) => part.model));
  return [...models].sort((a, b) => order.indexOf(a) - order.indexOf(b)); // as the bars have them
}

/** A score, split by model: what raises it to the right of the line, what lowers it to the left. */
export function bar(ranked, { down, span }) {
  const parts = (ranked.explanation?.contributions ?? []).map((part) => ({
    ...part,
    contribution: part.contribution ?? 0,
  }));
  const words = parts.map((part) => `${modelName(part.model)} ${number(part.contribution)}`).join(", ");
  const track = h("span", {
    class: "bar",
    role: "img",
    "aria-label": `Score ${number(ranked.score)}: ${words || "no model"}`,
  });
  let right = down,
    left = down;
  for (const part of [...parts].sort((a, b) => order.indexOf(a.model) - order.indexOf(b.model))) {
    const width = Math.abs(part.contribution);
    if (!isShown(part, span)) continue;
    if (part.contribution < 0) left -= width;
    const segment = h("span", {
      class: `segment ${color(part.model)}${part.contribution < 0 ? " below" : ""}`,
      title: `${modelName(part.model)} ${number(part.contribution)}`,
    });
    segment.style.left = `${(100 * (part.contribution < 0 ? left : right)) / span}%`;
    segment.style.width = `${(100 * width) / span}%`;
    if (part.contribution > 0) right += width;
    track.append(segment);
  }
  const zero = h("span", { class: "zero" });
  zero.style.left = `${(100 * down) / span}%`;
  if (down / span > 0.01) track.append(zero);
  return track;
}

export function legend(models) {
  return h(
    "ul",
    { class: "legend", "aria-label": "Colors of the models" },
    models.map((model) =>
      h("li", {}, h("span", { class: `swatch ${color(model)}`, "aria-hidden": "true" }), modelName(model)),
    ),
  );
}

/** The numbers behind a bar, made once they are opened: ten tables are most of what there is to draw of a list. */
export function numbers(ranked) {
  const details = h("details", { class: "numbers" }, h("summary", {}, "Numbers"));
  details.addEventListener("toggle", () => details.append(...numberTable(ranked)), { once: true });
  return details;
}

function numberTable(ranked) {
  const explanation = ranked.explanation ?? {};
  const row = (part) =>
    h(
      "tr",
      {},
      h(
        "th",
        { scope: "row" },
        h("span", { class: `swatch ${color(part.model)}`, "aria-hidden": "true" }),
        modelName(part.model),
      ),
      ["rawScore", "normalizedScore", "weight", "contribution"].map((name) => h("td", {}, number(part[name], 3))),
    );
  const heads = ["Model", "Raw", "Normalized", "Weight", "Part of the score"];
  const head = h(
    "tr",
    {},
    heads.map((name) => h("th", { scope: "col" }, name)),
  );
  const table = h(
    "table",
    {},
    h("thead", {}, head),
    h("tbody", {}, (explanation.contributions ?? []).map(row)),
  );
  const label = `Numbers of ${ranked.item.title}`;
  return [
    h("div", { class: "scroll", tabIndex: 0, role: "region", "aria-label": label }, table),
    explanation.bias ? h("p", { class: "muted" }, `and a bias of ${number(explanation.bias, 3)}`) : "",
  ];
}

/** Shows rows in a list, moving those that were there before; `rows`: [[id, element]]. */
export function rearrange(container, rows) {
  const before = new Map([...container.children].map((child) => [child.dataset.id, child.getBoundingClientRect().top]));
  const posters = new Map(
    [...container.children].map((child) => [child.dataset.id, child.querySelector(".poster.loaded")]),
  );
  container.replaceChildren(
    ...rows.map(([id, element]) => {
      element.dataset.id = id;
      const loaded = posters.get(id);
      if (loaded) element.querySelector(".poster").replaceWith(loaded); // it would be loaded and decoded again
      return element;
    }),
  );
  if (matchMedia("(prefers-reduced-motion: reduce)").matches || !before.size) return;
  for (const [id, element] of rows) {
    const top = element.getBoundingClientRect().top;
    if (!before.has(id)) element.animate([{ opacity: 0 }, { opacity: 1 }], { duration: 250 });
    else if (before.get(id) !== top)
      element.animate([{ transform: `translateY(${before.get(id) - top}px)` }, { transform: "none" }], {
        duration: 280,
        easing: "ease-out",
      });
  }
}

/** Grey rows, while the first answer is awaited. */
export const waiting = (count = 6) =>
  Array.from({ length: count }, () =>
    h(
      "li",
      { class: "row ghost", "aria-hidden": "true" },
      h("span", { class: "poster" }),
      h("span", { class: "line" }),
    ),
  );
