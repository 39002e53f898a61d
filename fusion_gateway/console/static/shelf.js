// What a person has watched, as a row of posters.
import { day, h } from "./dom.js";
import { poster } from "./movies.js";

const SHOWN = 40;

/** Ids of the movies that are shown of a history, newest first. */
export const shown = (events) => [...new Set(events.slice(0, SHOWN).map((event) => event.itemId))];

/** The shelf of a user, or of a new person where `user` is null: `starsOf(item, given)` and `takeAway(item)` change that. */
export function shelf(user, stored, items, starsOf, takeAway) {
  const who = user === null ? "new" : "user";
  const events = stored.slice(0, SHOWN);
  const title =
    who === "user"
      ? `${stored.length >= 1000 ? "1000 events and more" : stored.length === 1 ? "1 event" : `${stored.length} events`}`
      : "What you have rated";
  const nothing =
    who === "user"
      ? "Nothing is stored of this user, so the list is the one for nobody in particular."
      : "Nothing yet. Look for movies you know above, or give stars in the list below; nothing of it is stored.";
  return [
    h(
      "h2",
      {},
      user === null ? "A new person" : h("bdi", {}, `User ${user}`),
      h("span", { class: "muted" }, ` · ${title}`),
    ),
    events.length
      ? h(
          "ul",
          { class: `shelf ${who}`, tabIndex: 0, "aria-label": "Movies of the history, newest first" },
          events.map((event) => card(event, items, who, starsOf, takeAway)),
        )
      : h("p", { class: "muted" }, nothing),
  ];
}

function card(event, items, who, starsOf, takeAway) {
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
      ? starsOf(item, event.rating)
      : h(
          "span",
          { class: "when" },
          event.rating !== undefined
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
            "aria-label": `Remove ${item.title}`,
            on: {
              click: () => takeAway(item),
            },
          },
          "Remove",
        )
      : null,
  );
}
