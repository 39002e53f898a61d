// Two lists side by side: what they share, and how differently they order it.
import { change, state, weights, without } from "./address.js";
import { call, latest } from "./api.js";
import { choice, weightSliders } from "./controls.js";
import { h, notice, number, say, svg } from "./dom.js";
import { facts, poster, titleLink, waiting } from "./movies.js";
import { userBox } from "./people.js";

const SIDES = ["a", "b"];

export function show(main) {
  const parts = Object.fromEntries(
    SIDES.map((side) => [
      side,
      {
        controls: h("div", { class: "side-controls" }, h("p", { class: "muted" }, "…")),
        list: h("ol", { class: "list side" }, waiting()),
      },
    ]),
  );
  const sum = h("p", { class: "sum" }, "…");
  const lines = svg("svg", { class: "lines", preserveAspectRatio: "none", "aria-hidden": "true" });
  const half = (side) =>
    h(
      "section",
      { class: `half ${side}`, "aria-label": `List ${side.toUpperCase()}` },
      h("h2", {}, `List ${side.toUpperCase()}`),
      parts[side].controls,
      parts[side].list,
    );
  main.replaceChildren(
    h("h1", {}, "Compare"),
    h("p", { class: "muted" }, "Two policies or weightings for one user, or one policy for two users."),
    sum,
    h("div", { class: "halves" }, half("a"), lines, half("b")),
  );
  let status;

  function request(parameters, side) {
    const message = { k: Number(parameters.get("k") ?? 10), explain: false };
    const user = parameters.get(`${side}.user`) ?? parameters.get("a.user");
    if (user) message.userId = user;
    const policy = parameters.get(`${side}.policy`);
    if (policy) message.policy = policy;
    const moved = weights(parameters, `${side}.w.`);
    if (Object.keys(moved).length) message.weights = moved;
    return message;
  }

  const refresh = latest(
    async (signal) => {
      const parameters = state();
      const answers = await Promise.all(SIDES.map((side) => call("Recommend", request(parameters, side), { signal })));
      if (signal.aborted) return;
      draw(
        answers.map((answer) => answer.items ?? []),
        answers,
      );
    },
    (error) => notice(`The gateway refuses this: ${error.message}.`),
  );

  function draw([a, b], answers) {
    const ranks = SIDES.map((_, side) => new Map([a, b][side].map((ranked) => [ranked.item.id, ranked.rank])));
    const shared = a.filter((ranked) => ranks[1].has(ranked.item.id));
    for (const [side, items] of [a, b].entries()) {
      parts[SIDES[side]].list.replaceChildren(
        ...items.map((ranked) => row(ranked, ranks[1 - side].get(ranked.item.id), SIDES[1 - side])),
      );
    }
    const correlation = spearman(shared.map((ranked) => [ranked.rank, ranks[1].get(ranked.item.id)]));
    const [first, second] = answers.map((answer, side) => named(SIDES[side], answer));
    sum.textContent =
      `${first} and ${second} share ${shared.length} of ${Math.max(a.length, b.length)} movies` +
      (correlation === undefined ? "." : `; rank correlation of those (Spearman's ρ): ${number(correlation)}.`);
    drawLines(shared.map((ranked) => [ranked.rank, ranks[1].get(ranked.item.id)]));
    say(sum.textContent);
  }

  /** A side in words: A (user 42, rrf). */
  function named(side, answer) {
    const parameters = state();
    const user = request(parameters, side).userId;
    const changed = Object.keys(weights(parameters, `${side}.w.`)).length > 0;
    const facts = [user && `user ${user}`, answer.policy, changed && "other weights"];
    return `${side.toUpperCase()} (${facts.filter(Boolean).join(", ")})`;
  }

  /** From row to row, as they lie; `pairs`: ranks in A and in B. */
  function drawLines(pairs) {
    const { top, height } = lines.getBoundingClientRect();
    const middles = SIDES.map((side) =>
      [...parts[side].list.children].map((row) => {
        const box = row.getBoundingClientRect();
        return (box.top + box.bottom) / 2 - top;
      }),
    );
    lines.setAttribute("viewBox", `0 0 100 ${height}`);
    lines.replaceChildren(...pairs.map(([from, to]) => line(middles[0][from - 1], middles[1][to - 1], from === to)));
  }

  function line(start, end, same) {
    return svg("path", {
      d: `M0 ${start} C50 ${start} 50 ${end} 100 ${end}`,
      class: same ? "same" : "other",
      "vector-effect": "non-scaling-stroke",
    });
  }

  function row(ranked, other, otherSide) {
    const { item } = ranked;
    const mark =
      other === undefined
        ? h("span", { class: "moved new" }, "only here")
        : h(
            "span",
            { class: "moved" },
            other === ranked.rank ? "same rank" : `${other} in ${otherSide.toUpperCase()}`,
          );
    const light = (on) => () =>
      document
        .querySelectorAll(`.side [data-id="${CSS.escape(item.id)}"]`)
        .forEach((each) => each.classList.toggle("lit", on));
    return h(
      "li",
      {
        class: "row",
        data: { id: item.id },
        on: { mouseenter: light(true), mouseleave: light(false), focusin: light(true), focusout: light(false) },
      },
      h("span", { class: "rank" }, `${ranked.rank}`),
      poster(item),
      h("div", { class: "what" }, titleLink(item), facts(item)),
      mark,
    );
  }

  function drawControls() {
    const parameters = state();
    for (const side of SIDES) {
      const name = parameters.get(`${side}.policy`) ?? "";
      const own =
        status.policySettings?.find((policy) => policy.name === (name || status.defaultPolicy))?.weights ?? {};
      const set = (changes) => {
        change(changes);
        refresh();
      };
      const moved = weights(parameters, `${side}.w.`);
      parts[side].controls.replaceChildren(
        userBox({
          label: "User id",
          placeholder: side === "a" ? "nobody in particular" : "as in A",
          value: parameters.get(`${side}.user`) ?? "",
          chosen: (user) => set({ [`${side}.user`]: user }),
        }),
        choice({
          label: "Policy",
          value: name,
          options: [
            ["", `${status.defaultPolicy} (default)`],
            ...status.policies.filter((each) => each !== status.defaultPolicy).map((each) => [each, each]),
          ],
          chosen: (policy) => {
            change({ ...without(state(), `${side}.w.`), [`${side}.policy`]: policy });
            drawControls();
            refresh();
          },
        }),
        h(
          "details",
          { open: Object.keys(moved).length > 0 },
          h("summary", {}, "Weights"),
          weightSliders(Object.keys(own).sort(), own, moved, (model, value) =>
            set({ [`${side}.w.${model}`]: `${value}` }),
          ),
        ),
      );
    }
  }

  const learn = latest(async (signal) => {
    status = await call("GetStatus", {}, { signal });
    const other = status.policies?.find((name) => name !== status.defaultPolicy);
    if (!state().size && other) change({ "b.policy": other });
    drawControls();
    refresh();
  });
  window.addEventListener("popstate", () => {
    drawControls();
    refresh();
  });
  learn();
}

/** The correlation of two rankings of the same things, from pairs of ranks; undefined for fewer than two. */
export function spearman(pairs) {
  if (pairs.length < 2) return undefined;
  const ranks = (values) => {
    const sorted = [...values].sort((x, y) => x - y);
    return values.map((value) => sorted.indexOf(value));
  };
  const [a, b] = [ranks(pairs.map(([x]) => x)), ranks(pairs.map(([, y]) => y))];
  const n = pairs.length;
  return 1 - (6 * a.reduce((total, rank, i) => total + (rank - b[i]) ** 2, 0)) / (n * (n * n - 1));
}
