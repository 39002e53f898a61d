// One list of recommendations: how it was made, and its rows.
import { state } from "./address.js";
import { about } from "./api.js";
import { ago, h, number } from "./dom.js";
import { bar, facts, modelName, numbers, poster, titleLink } from "./movies.js";
import { mode } from "./request.js";

const HOW = {
  FALLBACK_STORED_HISTORY: "from the stored history",
  FALLBACK_FOLD_IN: "from the movies you rated",
  FALLBACK_PROFILE: "from the profile",
  FALLBACK_NO_HISTORY: "for nobody in particular",
  FALLBACK_POPULARITY: "from popularity alone",
};
/** How the list was made, in a line. */
export function summary(answer) {
  const how = answer.items?.length ? HOW[answer.fallback] : "";
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

/**
 * A movie of the list. `was`: its rank in the list before, undefined where it was not in it, null where there was none.
 * `watch(item)` says that it was watched, `starsOf(item)` are its stars.
 */
export function row(ranked, sizes, was, watch, starsOf) {
  const { item, explanation = {} } = ranked;
  return h(
    "li",
    { class: "row" },
    h("span", { class: "rank" }, `${ranked.rank}`, moved(was, ranked.rank)),
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
    actionsOf(item, watch, starsOf),
  );
}

function moved(was, rank) {
  if (was === null || was === rank) return null;
  if (was === undefined) return h("span", { class: "moved new" }, "new");
  const up = was > rank;
  return h(
    "span",
    { class: up ? "moved up" : "moved down" },
    h("span", { "aria-hidden": "true" }, up ? "▲" : "▼"),
    h("span", { class: "hidden" }, up ? "up " : "down "),
    `${Math.abs(was - rank)}`,
  );
}

function actionsOf(item, watch, starsOf) {
  const actions = h("div", { class: "actions" });
  about.then(({ readOnly }) => {
    const who = mode(state());
    if (who === "user" && readOnly) return;
    const watched = h(
      "button",
      { type: "button", class: "small", "aria-label": `Watched ${item.title}`, on: { click: () => watch(item) } },
      "Watched",
    );
    actions.append(starsOf(item), ...(who === "user" ? [watched] : []));
  });
  return actions;
}
