// Movies like a movie, and what makes them alike.
import { asCall } from "./as_call.js";
import { change, state, weights } from "./address.js";
import { call, latest } from "./api.js";
import { weightSliders } from "./controls.js";
import { h, notice, number, say } from "./dom.js";
import { bar, facts, legend, modelName, modelsOf, numbers, poster, rearrange, scale, titleLink, waiting } from "./movies.js";
import { noMovie, titleBox } from "./people.js";

const PICTURE = "visual_temporal";

export function request(parameters, kinds) {
  const asked = { k: Number(parameters.get("k") ?? 10) };
  if (parameters.has("id")) asked.itemId = parameters.get("id");
  else asked.title = parameters.get("title") ?? "";
  const moved = weights(parameters);
  if (Object.keys(moved).length) asked.weights = { ...Object.fromEntries(kinds.map((kind) => [kind, 1])), ...moved };
  return asked;
}

export function show(main) {
  const parts = {
    hint: h(
      "p",
      { class: "empty" },
      "Which movie? Type its title, as you remember it, and the movies like it show here.",
    ),
    movie: h("section", { class: "movie", "aria-label": "The movie" }),
    controls: h(
      "details",
      { class: "controls", open: matchMedia("(min-width: 60rem)").matches },
      h("summary", {}, "What counts as alike"),
      h("div", { class: "inner" }),
    ),
    legend: h("div"),
    degraded: h("p", { class: "degraded", hidden: true }),
    list: h("ol", { class: "list" }),
    empty: h(
      "p",
      { class: "empty", hidden: true },
      "Nothing in the catalog is like it by these weights. Give other kinds a weight.",
    ),
    call: h("details", { class: "as-call" }, h("summary", {}, "As a call")),
  };
  const results = h(
    "div",
    { class: "results", hidden: true },
    parts.movie,
    h(
      "section",
      { "aria-labelledby": "list-title" },
      h("div", { class: "list-head" }, h("h2", { id: "list-title" }, "Similar movies"), parts.legend),
      parts.degraded,
      parts.list,
      parts.empty,
      parts.call,
    ),
  );
  const open = (item) => {
    change({ id: item.id, title: undefined }, { push: true });
    notice("");
    refresh();
  };
  const { element, input } = titleBox("Movie title", open, (text) => notice(text));
  parts.controls.hidden = true;
  main.replaceChildren(
    h("h1", { class: "hidden" }, "Title"),
    h("section", { class: "who" }, element),
    parts.hint,
    h("div", { class: "columns" }, parts.controls, results),
  );

  let kinds = [];
  const complain = (error) => {
    if (error.code !== "not_found") {
      notice(error.message);
      return;
    }
    const title = state().get("title");
    notice(title ? noMovie(title) : `There is no movie with the id '${state().get("id")}'.`);
    results.hidden = parts.controls.hidden = true;
    parts.hint.hidden = false;
    input.value = title ?? "";
    input.select();
  };
  const refresh = latest(async (signal) => {
    const parameters = state();
    if (!parameters.has("id") && !parameters.has("title")) {
      input.focus();
      return;
    }
    results.hidden = parts.controls.hidden = false;
    parts.hint.hidden = true;
    if (!parts.list.children.length) parts.list.replaceChildren(...waiting());
    const learning = kinds.length ? null : learn(signal);
    learning?.catch(() => {}); // the call below fails in the same way, and says so
    if (Object.keys(weights(parameters)).length) await learning;
    const asked = request(parameters, kinds);
    const answer = await call("SimilarItems", asked, { signal });
    if (signal.aborted) return;
    draw(answer);
    await learning;
    if (parts.call.open) parts.call.replaceChildren(parts.call.firstChild, ...(await asCall("SimilarItems", asked)));
  }, complain);
  parts.call.addEventListener("toggle", async () => {
    if (parts.call.open)
      parts.call.replaceChildren(parts.call.firstChild, ...(await asCall("SimilarItems", request(state(), kinds))));
  });

  async function learn(signal) {
    kinds = (await call("GetStatus", {}, { signal })).similarKinds ?? [];
    drawControls();
  }

  function drawControls() {
    const set = weights(state());
    const own = Object.fromEntries(kinds.map((kind) => [kind, 1]));
    const only = (wanted) =>
      Object.fromEntries(
        kinds.map((kind) => [`w.${kind}`, wanted === undefined ? undefined : kind === wanted ? "1" : "0"]),
      );
    const button = (text, wanted) =>
      h(
        "button",
        {
          type: "button",
          class: "small",
          on: {
            click: () => {
              change(only(wanted));
              drawControls();
              refresh();
            },
          },
        },
        text,
      );
    parts.controls.lastChild.replaceChildren(
      h(
        "fieldset",
        {},
        h("legend", {}, "Weight of each kind"),
        weightSliders(kinds, own, set, (name, value) => {
          change({ [`w.${name}`]: `${value}` });
          refresh();
        }),
        h(
          "div",
          { class: "buttons" },
          kinds.includes(PICTURE) ? button("Picture alone", PICTURE) : null,
          button("All alike"),
        ),
      ),
      h(
        "p",
        { class: "hint" },
        "At most two movies of the same director come first, as long as the director has a weight.",
      ),
    );
  }

  function draw(answer) {
    const items = answer.items ?? [];
    const query = answer.query;
    document.title = `${query.title} · Marquee`;
    if (document.activeElement !== input) input.value = query.title;
    parts.movie.replaceChildren(
      poster(query, 185),
      h(
        "div",
        {},
        h("h2", { class: "movie-title" }, h("bdi", {}, query.title)),
        facts(query),
        h("p", { class: "muted" }, "Item ", h("code", {}, query.id)),
      ),
    );
    const sizes = scale(items);
    parts.legend.replaceChildren(legend(modelsOf(items, sizes)));
    parts.degraded.hidden = !answer.degraded?.length;
    parts.degraded.textContent = (answer.degraded ?? [])
      .map((each) => `Without ${modelName(each.component)}: ${each.reason}.`)
      .join(" ");
    parts.empty.hidden = items.length > 0;
    rearrange(
      parts.list,
      items.map((ranked) => [ranked.item.id, row(ranked, sizes, query)]),
    );
    say(`${items.length} movies similar to ${query.title}. First: ${items[0]?.item.title ?? "none"}.`);
  }

  function row(ranked, sizes, query) {
    const { item } = ranked;
    const same = item.director && item.director === query.director;
    return h(
      "li",
      { class: "row" },
      h("span", { class: "rank" }, `${ranked.rank}`),
      poster(item),
      h(
        "div",
        { class: "what" },
        titleLink(item),
        facts(item),
        same ? h("p", { class: "reason" }, "the same director") : null,
      ),
      h(
        "div",
        { class: "score" },
        h("span", { class: "value" }, number(ranked.score)),
        bar(ranked, sizes),
        numbers(ranked),
      ),
    );
  }

  window.addEventListener("popstate", refresh);
  refresh();
}
