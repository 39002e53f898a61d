// The controls of the Recommend page.
import { list, state, weights, without } from "./address.js";
import { choice, field, genres, several, slider, weightSliders } from "./controls.js";
import { h } from "./dom.js";
import { mode } from "./request.js";

/**
 * All of them, for the state of the address. `set(changes)` changes the address and lets the list follow;
 * `redraw(changes)` draws the controls anew, too.
 */
export function recommendControls(status, set, redraw) {
  const parameters = state();
  return [
    mode(parameters) === "anonymous" ? profile(status, parameters, set) : "",
    choice({
      label: "Policy",
      value: parameters.get("policy") ?? "",
      options: [
        ["", `${status.defaultPolicy} (default)`],
        ...status.policies.filter((name) => name !== status.defaultPolicy).map((name) => [name, name]),
      ],
      chosen: (name) => redraw({ ...without(state()), policy: name }),
    }),
    weightFields(status, parameters, set, redraw),
    listFields(parameters, set),
    filterFields(status, parameters, set),
  ];
}

function weightFields(status, parameters, set, redraw) {
  const named = parameters.get("policy") ?? status.defaultPolicy;
  const own = status.policySettings?.find(({ name }) => name === named)?.weights ?? {};
  const moved = weights(parameters);
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
  return h(
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
    reset,
  );
}

function listFields(parameters, set) {
  return h(
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
      help: "Share of the list for movies drawn at random",
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
  );
}

function filterFields(status, parameters, set) {
  return h(
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
  );
}

function profile(status, parameters, set) {
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
    several({
      label: "Likes",
      names: status.genres ?? [],
      value: list(parameters, "liked"),
      changed: (liked) => set({ liked: liked.join(",") }),
    }),
  );
}
