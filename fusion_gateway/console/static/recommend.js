// What is recommended to whom, and why; every control changes the address, and the list follows the address.
import { asCall } from "./as_call.js";
import { change, list, state, weights, without } from "./address.js";
import { about, call, latest } from "./api.js";
import { choice, field, genres, slider, weightSliders } from "./controls.js";
import { ago, day, h, notice, number, say } from "./dom.js";
import {
  bar,
  facts,
  legend,
  modelName,
  numbers,
  poster,
  rearrange,
  scale,
  stars,
  titleLink,
  waiting,
} from "./movies.js";
import { personBox, titleBox } from "./people.js";

const HOW = {
  FALLBACK_STORED_HISTORY: "from the stored history",
  FALLBACK_FOLD_IN: "from the movies you rated",
  FALLBACK_PROFILE: "from the profile",
  FALLBACK_NO_HISTORY: "for nobody in particular",
  FALLBACK_POPULARITY: "from popularity alone",
};
const HISTORY_SHOWN = 40;

/** The history of a new person, as the address holds it: id:rating,id:rating. */
const picked = (parameters) =>
  list(parameters, "picked").map((each) => {
    const cut = each.lastIndexOf(":");
    return { itemId: decodeURIComponent(each.slice(0, cut)), rating: Number(each.slice(cut + 1)) };
  });
const pickedText = (events) => events.map(({ itemId, rating }) => `${encodeURIComponent(itemId)}:${rating}`).join(",");

const mode = (parameters) => (parameters.has("user") ? "user" : parameters.has("new") ? "new" : "anonymous");

/** The request that the address stands for. */
export function request(parameters) {
  const asked = { explain: true, k: Number(parameters.get("k") ?? 10) };
  const optional = { policy: String, diversity: Number, exploration: Number, maxPerGenre: Number, seed: String };
  for (const [name, type] of Object.entries(optional))
    if (parameters.has(name)) asked[name] = type(parameters.get(name));
  const moved = weights(parameters);
  if (Object.keys(moved).length) asked.weights = moved;
  const filters = {};
  if (parameters.has("any")) filters.genresAny = list(parameters, "any");
  if (parameters.has("none")) filters.genresNone = list(parameters, "none");
  if (parameters.has("from")) filters.yearMin = Number(parameters.get("from"));
  if (parameters.has("to")) filters.yearMax = Number(parameters.get("to"));
  if (Object.keys(filters).length) asked.filters = filters;
  if (mode(parameters) === "user") asked.userId = parameters.get("user");
  if (mode(parameters) === "new") asked.history = picked(parameters);
  if (mode(parameters) === "anonymous") {
    const profile = {};
    if (parameters.has("age")) profile.age = Number(parameters.get("age"));
    for (const name of ["gender", "occupation"]) if (parameters.has(name)) profile[name] = parameters.get(name);
    if (parameters.has("liked")) profile.likedGenres = list(parameters, "liked");
    if (Object.keys(profile).length) asked.profile = profile;
  }
  return asked;
}

export function show(main) {
  const parts = {
    who: h("section", { class: "who", "aria-label": "Whom to recommend to" }),
    past: h("section", { class: "past", "aria-label": "History", hidden: true }),
    how: h("p", { class: "how" }, "…"),
    degraded: h("p", { class: "degraded", hidden: true }),
    legend: h("div"),
    list: h("ol", { class: "list" }, waiting()),
    empty: h("p", { class: "empty", hidden: true }),
    call: h("details", { class: "as-call" }, h("summary", {}, "As a call")),
    controls: h(
      "details",
      { class: "controls", open: matchMedia("(min-width: 60rem)").matches },
      h("summary", {}, "Weights and filters"),
      h("div", { class: "inner" }, h("p", { class: "muted" }, "…")),
    ),
  };
  main.replaceChildren(
    h("h1", { class: "hidden" }, "Recommend"),
    parts.who,
    h(
      "div",
      { class: "columns" },
      parts.controls,
      h(
        "div",
        { class: "results" },
        parts.past,
        h(
          "section",
          { "aria-labelledby": "list-title" },
          h("div", { class: "list-head" }, h("h2", { id: "list-title", tabIndex: -1 }, "Recommended"), parts.legend),
          parts.how,
          parts.degraded,
          parts.list,
          parts.empty,
          parts.call,
        ),
      ),
    ),
  );

  let ranks = new Map(),
    status;
  const complain = (error) => {
    notice("");
    parts.list.replaceChildren();
    parts.how.textContent = "";
    parts.empty.hidden = false;
    parts.empty.textContent = `The gateway refuses this: ${error.message}.`;
  };
  const refresh = latest(async (signal) => {
    const parameters = state();
    const asked = request(parameters);
    parts.list.setAttribute("aria-busy", "true");
    const answer = await call("Recommend", asked, { signal });
    if (signal.aborted) return;
    draw(answer, parameters);
    parts.list.removeAttribute("aria-busy");
    if (parts.call.open) parts.call.replaceChildren(parts.call.firstChild, ...(await asCall("Recommend", asked)));
  }, complain);
  parts.call.addEventListener("toggle", async () => {
    if (parts.call.open)
      parts.call.replaceChildren(parts.call.firstChild, ...(await asCall("Recommend", request(state()))));
  });

  function draw(answer, parameters) {
    const items = answer.items ?? [];
    const sizes = scale(items);
    const models = [
      ...new Set(items.flatMap(({ explanation }) => (explanation?.contributions ?? []).map((part) => part.model))),
    ].sort();
    parts.legend.replaceChildren(legend(models));
    parts.how.textContent = told(answer);
    parts.degraded.hidden = !answer.degraded?.length;
    parts.degraded.textContent = (answer.degraded ?? [])
      .map((each) => `Without ${modelName(each.component)}: ${each.reason}.`)
      .join(" ");
    rearrange(
      parts.list,
      items.map((ranked) => [ranked.item.id, row(ranked, sizes, parameters)]),
    );
    parts.empty.hidden = items.length > 0;
    parts.empty.textContent = "Nothing passes these filters. Take some away, or widen the years.";
    ranks = new Map(items.map((ranked) => [ranked.item.id, ranked.rank]));
    say(`${items.length} movies. First: ${items[0]?.item.title ?? "none"}.`);
  }

  function told(answer) {
    const how = HOW[answer.fallback] ?? "";
    const used = answer.historyUsed ? `${answer.historyUsed} events` : "";
    const newest =
      answer.historyAgeSeconds && mode(state()) === "user"
        ? `newest ${ago(Date.now() / 1000 - Number(answer.historyAgeSeconds))}`
        : "";
    return [
      how,
      used,
      newest,
      `policy ${answer.policy}`,
      `${answer.candidates ?? 0} candidates`,
      `${number(answer.timingsMs?.total, 0)} ms`,
    ]
      .filter(Boolean)
      .join(" · ");
  }

  function row(ranked, sizes, parameters) {
    const { item, explanation = {} } = ranked;
    const was = ranks.get(item.id);
    const moved = !ranks.size
      ? null
      : was === undefined
        ? h("span", { class: "moved new" }, "new")
        : was === ranked.rank
          ? null
          : h(
              "span",
              { class: was > ranked.rank ? "moved up" : "moved down" },
              h("span", { "aria-hidden": "true" }, was > ranked.rank ? "▲" : "▼"),
              h("span", { class: "hidden" }, was > ranked.rank ? "up " : "down "),
              `${Math.abs(was - ranked.rank)}`,
            );
    return h(
      "li",
      { class: "row" },
      h("span", { class: "rank" }, `${ranked.rank}`, moved),
      poster(item),
      h(
        "div",
        { class: "what" },
        titleLink(item),
        facts(item),
        explanation.reason ? h("p", { class: "reason" }, h("bdi", {}, explanation.reason)) : null,
      ),
      h(
        "div",
        { class: "score" },
        h("span", { class: "value" }, number(ranked.score)),
        bar(ranked, sizes),
        h(
          "p",
          { class: "sources" },
          ranked.explored
            ? "drawn by exploration"
            : `found by ${(explanation.retrievedBy ?? []).map(modelName).join(", ") || "nobody"}`,
        ),
        numbers(ranked),
      ),
      actions(item, parameters),
    );
  }

  function actions(item, parameters) {
    const place = h("div", { class: "actions" });
    about.then(({ readOnly }) => {
      const who = mode(parameters);
      if (who === "user" && readOnly) return;
      const watched = h(
        "button",
        { type: "button", class: "small", "aria-label": `Watched ${item.title}`, on: { click: () => watch(item) } },
        "Watched",
      );
      place.append(
        stars(item, undefined, (rating) => watch(item, rating)),
        ...(who === "user" ? [watched] : []),
      );
    });
    return place;
  }

  /** For a user, an event that is stored; for a new person, one in the address. */
  async function watch(item, rating) {
    const parameters = state(),
      user = parameters.get("user");
    if (mode(parameters) === "user") {
      try {
        await call("RecordEvents", { events: [{ userId: user, itemId: item.id, ...(rating ? { rating } : {}) }] });
      } catch (error) {
        notice(`That was not stored: ${error.message}.`);
        return;
      }
    } else {
      const events = picked(parameters),
        given = events.find((event) => event.itemId === item.id);
      if (given) given.rating = rating;
      else events.push({ itemId: item.id, rating });
      change({ new: "1", picked: pickedText(events), user: undefined }, { push: mode(parameters) !== "new" });
      if (mode(parameters) !== "new") drawWho();
    }
    document.getElementById("list-title").focus({ preventScroll: true });
    say(`${item.title}: ${rating ? `${rating} of 5` : "watched"}. The list follows.`);
    await Promise.all([refresh(), showPast()]);
  }

  const showPast = latest(async (signal) => {
    const parameters = state(),
      who = mode(parameters);
    const stored =
      who === "user"
        ? ((await call("GetHistory", { userId: parameters.get("user"), limit: 1000 }, { signal })).events ?? [])
        : picked(parameters).reverse();
    parts.past.hidden = who === "anonymous";
    if (who === "anonymous") return;
    const events = stored.slice(0, HISTORY_SHOWN);
    const found = events.length
      ? ((await call("GetItems", { itemIds: [...new Set(events.map((event) => event.itemId))] }, { signal })).items ??
        [])
      : [];
    const items = new Map(found.map((item) => [item.id, item]));
    const title =
      who === "user"
        ? `${stored.length >= 1000 ? "1000 events and more" : stored.length === 1 ? "1 event" : `${stored.length} events`}`
        : "What you have rated";
    const card = (event) => {
      const item = items.get(event.itemId) ?? { id: event.itemId, title: `${event.itemId} (not in the catalog)` };
      return h(
        "li",
        {},
        h(
          "a",
          { href: `/title?id=${encodeURIComponent(item.id)}` },
          poster(item),
          h("span", { class: "name" }, h("bdi", {}, item.title)),
        ),
        who === "new"
          ? stars(item, event.rating, (rating) => watch(item, rating))
          : h(
              "span",
              { class: "when" },
              event.rating
                ? h(
                    "span",
                    { class: "given" },
                    h("span", { "aria-hidden": "true" }, "★"),
                    h("span", { class: "hidden" }, "rated "),
                    ` ${event.rating}`,
                  )
                : "watched",
              event.time ? h("span", {}, day(Number(event.time))) : null,
            ),
        who === "new"
          ? h(
              "button",
              {
                type: "button",
                class: "small",
                "aria-label": `Take away ${item.title}`,
                on: {
                  click: () => {
                    change({ picked: pickedText(picked(state()).filter((each) => each.itemId !== item.id)) });
                    refresh();
                    showPast();
                  },
                },
              },
              "Take away",
            )
          : null,
      );
    };
    const nothing =
      who === "user"
        ? "Nothing is stored of this user, so the list is the one for nobody in particular."
        : "Nothing yet. Look for movies you know above, or give stars in the list below; nothing of it is stored.";
    const old = parts.past.querySelector("ul")?.scrollLeft;
    parts.past.replaceChildren(
      h(
        "h2",
        {},
        who === "user" ? h("bdi", {}, `User ${parameters.get("user")}`) : "A new person",
        h("span", { class: "muted" }, ` · ${title}`),
      ),
      events.length
        ? h(
            "ul",
            { class: `shelf ${who}`, tabIndex: 0, "aria-label": "Movies of the history, newest first" },
            events.map(card),
          )
        : h("p", { class: "muted" }, nothing),
    );
    if (old) parts.past.querySelector("ul").scrollLeft = 0;
  });

  function drawWho() {
    const parameters = state(),
      who = mode(parameters);
    const go = (changes) => {
      ranks = new Map();
      change({ user: undefined, new: undefined, picked: undefined, ...changes }, { push: true });
      drawWho();
      drawControls();
      refresh();
      showPast();
    };
    const missed = (text) => notice(text);
    const { element, input } = personBox({
      value: parameters.get("user") ?? "",
      chooseUser: (user) => {
        notice("");
        go({ user });
      },
      missed,
    });
    const kinds = [
      ["new", "A new person", { new: "1" }],
      ["anonymous", "Nobody in particular", {}],
    ];
    const tabs = h(
      "div",
      { class: "tabs", role: "group", "aria-label": "Without a user" },
      kinds.map(([kind, text, changes]) =>
        h("button", { type: "button", "aria-pressed": String(who === kind), on: { click: () => go(changes) } }, text),
      ),
    );
    const again = document.activeElement?.closest(".box") && document.activeElement.getAttribute("role") === "combobox";
    parts.who.replaceChildren(element, tabs);
    if (who === "new") parts.who.append(titleBox("A movie you know", (item) => watch(item, 5), missed).element);
    if (again) input.focus();
  }

  function drawControls() {
    if (!status) return;
    const parameters = state();
    const set = (changes) => {
      change(changes);
      refresh();
    };
    const policy = status.policySettings?.find(
      ({ name }) => name === (parameters.get("policy") ?? status.defaultPolicy),
    );
    const own = policy?.weights ?? {};
    const moved = weights(parameters);
    const redraw = (changes) => {
      change(changes);
      drawControls();
      refresh();
    };
    parts.controls.lastChild.replaceChildren(
      mode(parameters) === "anonymous" ? profile(parameters, set) : "",
      choice({
        label: "Policy",
        value: parameters.get("policy") ?? "",
        options: [
          ["", `${status.defaultPolicy} (default)`],
          ...status.policies.filter((name) => name !== status.defaultPolicy).map((name) => [name, name]),
        ],
        chosen: (name) => redraw({ ...without(state()), policy: name }),
      }),
      h(
        "fieldset",
        { class: "weights" },
        h("legend", {}, "Weight of each model"),
        weightSliders(Object.keys(own).sort(), own, moved, (name, value) => {
          set({ [`w.${name}`]: `${value}` });
          reset.hidden = false;
        }),
        h(
          "p",
          { class: "hint" },
          "A model that knows nothing of a person or a movie abstains there, and the others share its weight.",
        ),
      ),
      h(
        "fieldset",
        {},
        h("legend", {}, "The list"),
        slider({
          label: "Diversity",
          value: Number(parameters.get("diversity") ?? 0),
          step: 0.05,
          help: "Less of the same genres",
          moved: (value) => set({ diversity: value || undefined }),
        }),
        slider({
          label: "Exploration",
          value: Number(parameters.get("exploration") ?? 0),
          step: 0.05,
          help: "Share of places for movies drawn at random",
          show: (v) => `${Math.round(100 * v)} %`,
          moved: (value) =>
            set({ exploration: value || undefined, seed: value ? (parameters.get("seed") ?? "1") : undefined }),
        }),
        slider({
          label: "At most of a genre",
          value: Number(parameters.get("maxPerGenre") ?? 0),
          max: 20,
          step: 1,
          show: (v) => (v ? `${v}` : "any number"),
          moved: (value) => set({ maxPerGenre: value || undefined }),
        }),
        choice({
          label: "Length",
          value: parameters.get("k") ?? "10",
          options: ["5", "10", "20", "50"].map((k) => [k, `${k} movies`]),
          chosen: (k) => set({ k: k === "10" ? undefined : k }),
        }),
      ),
      h(
        "fieldset",
        {},
        h("legend", {}, "Only"),
        h("p", { class: "hint" }, "Press a genre once to have only such movies, twice to have none of it."),
        genres(status.genres ?? [], list(parameters, "any"), list(parameters, "none"), (any, none) =>
          set({ any: any.join(","), none: none.join(",") }),
        ),
        h(
          "div",
          { class: "years" },
          field({
            label: "From year",
            type: "number",
            min: 0,
            max: 9999,
            value: parameters.get("from") ?? "",
            changed: (from) => set({ from }),
          }),
          field({
            label: "to",
            type: "number",
            min: 0,
            max: 9999,
            value: parameters.get("to") ?? "",
            changed: (to) => set({ to }),
          }),
        ),
      ),
    );
    const reset = h(
      "button",
      {
        type: "button",
        class: "small",
        hidden: !Object.keys(moved).length,
        on: { click: () => redraw(without(state())) },
      },
      "Back to the policy's weights",
    );
    parts.controls.querySelector(".weights").append(reset);
  }

  function profile(parameters, set) {
    const names = (all, what) => [["", `any ${what}`], ...(all ?? []).map((name) => [name, name])];
    return h(
      "fieldset",
      {},
      h("legend", {}, "Profile of somebody without a history"),
      field({
        label: "Age",
        type: "number",
        min: 0,
        max: 130,
        value: parameters.get("age") ?? "",
        changed: (age) => set({ age }),
      }),
      choice({
        label: "Gender",
        value: parameters.get("gender") ?? "",
        options: names(status.genders, "gender"),
        chosen: (gender) => set({ gender }),
      }),
      choice({
        label: "Occupation",
        value: parameters.get("occupation") ?? "",
        options: names(status.occupations, "occupation"),
        chosen: (occupation) => set({ occupation }),
      }),
      choice({
        label: "Likes",
        value: parameters.get("liked") ?? "",
        options: names(status.genres, "genre"),
        chosen: (liked) => set({ liked }),
      }),
    );
  }

  const learn = latest(async (signal) => {
    status = await call("GetStatus", {}, { signal });
    drawControls();
  });
  const all = () => {
    drawWho();
    drawControls();
    refresh();
    showPast();
  };
  window.addEventListener("popstate", () => {
    ranks = new Map();
    all();
  });
  all();
  learn();
}
