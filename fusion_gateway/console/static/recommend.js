// What is recommended to whom, and why; every control changes the address, and the list follows the address.
import { asCall } from "./as_call.js";
import { change, state } from "./address.js";
import { call, CallError, inWords, latest } from "./api.js";
import { h, notice, say } from "./dom.js";
import { legend, modelName, modelsOf, rearrange, scale, stars, starValues, waiting } from "./movies.js";
import { personBox, titleBox } from "./people.js";
import { recommendControls } from "./recommend_controls.js";
import { row, told } from "./recommend_row.js";
import { mode, picked, pickedText, request } from "./request.js";
import { shelf, shown } from "./shelf.js";

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

  const noFilters = { any: undefined, none: undefined, from: undefined, to: undefined };
  const unfiltered = h(
    "button",
    {
      type: "button",
      on: {
        click: () => {
          change(noFilters);
          drawControls();
          refresh();
        },
      },
    },
    "Clear the filters",
  );
  let ranks = null;
  let status, learned;
  const values = new Promise((resolve) => {
    learned = resolve;
  });
  const starsOf = (item, given) => stars(item, given, (rating) => watch(item, rating), values);
  const complain = (error) => {
    notice("");
    parts.list.replaceChildren();
    parts.how.textContent = "";
    parts.legend.replaceChildren();
    parts.list.removeAttribute("aria-busy");
    parts.empty.hidden = false;
    parts.empty.textContent =
      error instanceof CallError ? `The gateway refuses this: ${error.message}.` : inWords(error);
  };
  const refresh = latest(async (signal) => {
    const asked = request(state());
    parts.list.setAttribute("aria-busy", "true");
    const answer = await call("Recommend", asked, { signal });
    if (signal.aborted) return;
    draw(answer);
    parts.list.removeAttribute("aria-busy");
    if (parts.call.open) parts.call.replaceChildren(parts.call.firstChild, ...(await asCall("Recommend", asked)));
  }, complain);
  parts.call.addEventListener("toggle", async () => {
    if (parts.call.open)
      parts.call.replaceChildren(parts.call.firstChild, ...(await asCall("Recommend", request(state()))));
  });

  function draw(answer) {
    const items = answer.items ?? [];
    const sizes = scale(items);
    parts.legend.replaceChildren(legend(modelsOf(items, sizes)));
    parts.how.textContent = told(answer);
    parts.degraded.hidden = !answer.degraded?.length;
    parts.degraded.textContent = (answer.degraded ?? [])
      .map((each) => `Without ${modelName(each.component)}: ${each.reason}.`)
      .join(" ");
    rearrange(
      parts.list,
      items.map((ranked) => [ranked.item.id, row(ranked, sizes, ranks && ranks.get(ranked.item.id), watch, starsOf)]),
    );
    parts.empty.hidden = items.length > 0;
    parts.empty.replaceChildren("Nothing passes these filters. ", unfiltered);
    ranks = new Map(items.map((ranked) => [ranked.item.id, ranked.rank]));
    say(`${items.length} movies. First: ${items[0]?.item.title ?? "none"}.`);
  }

  /** For a user, an event that is stored; for a new person, one in the address. */
  async function watch(item, rating) {
    const parameters = state(),
      user = parameters.get("user");
    if (mode(parameters) === "user") {
      try {
        await call("RecordEvents", { events: [{ userId: user, itemId: item.id, ...(rating === undefined ? {} : { rating }) }] });
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
      if (mode(parameters) !== "new") {
        drawWho();
        drawControls();
      }
    }
    document.getElementById("list-title").focus({ preventScroll: true });
    say(`${item.title}: ${rating === undefined ? "watched" : `rated ${rating}`}. The list follows.`);
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
    const ids = shown(stored);
    const found = ids.length ? await call("GetItems", { itemIds: ids }, { signal }) : {};
    const items = new Map((found.items ?? []).map((item) => [item.id, item]));
    const user = who === "user" ? parameters.get("user") : null;
    parts.past.replaceChildren(...shelf(user, stored, items, starsOf, takeAway));
  });

  function takeAway(item) {
    change({ picked: pickedText(picked(state()).filter((each) => each.itemId !== item.id)) });
    refresh();
    showPast();
  }

  function drawWho() {
    const parameters = state(),
      who = mode(parameters);
    const go = (changes) => {
      ranks = null;
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
    if (who === "new") parts.who.append(titleBox("A movie you know", async (item) => watch(item, (await values).at(-1)), missed).element);
    if (again) input.focus();
  }

  function drawControls() {
    if (!status) return;
    const set = (changes) => {
      change(changes);
      refresh();
    };
    const redraw = (changes) => {
      change(changes);
      drawControls();
      refresh();
    };
    parts.controls.lastChild.replaceChildren(...recommendControls(status, set, redraw));
  }

  const learn = latest(async (signal) => {
    status = await call("GetStatus", {}, { signal });
    learned(starValues(status.ratingScale));
    drawControls();
  });
  const all = () => {
    drawWho();
    drawControls();
    refresh();
    showPast();
  };
  window.addEventListener("popstate", () => {
    ranks = null;
    all();
  });
  all();
  learn();
}
