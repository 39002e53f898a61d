// The box that takes a user id or a title, and what is known of a person.
import { call } from "./api.js";
import { box } from "./controls.js";

export const noMovie = (title) => `Oops, no movie found with a title similar to '${title}'.`;

export const openTitle = (id) => location.assign(`/title?id=${encodeURIComponent(id)}`);

async function events(user) {
  const { events: found = [] } = await call("GetHistory", { userId: user, limit: 1000 });
  return found.length;
}

const movies = async (text, k = 6) => (await call("SearchItems", { title: text, k })).matches ?? [];

const described = (item) => [item.year, item.director?.split("|")[0]].filter(Boolean).join(" · ");

/** A box for titles only. */
export const titleBox = (label, chosen, missed) =>
  box({
    label,
    placeholder: "Title, as you remember it",
    suggest: async (text) =>
      (await movies(text)).map(({ item }) => ({
        text: item.title,
        detail: described(item),
        choose: () => chosen(item),
      })),
    enter: async (text) => {
      const [best] = await movies(text, 1);
      if (best) chosen(best.item);
      else missed?.(noMovie(text));
    },
  });

/** A box for a user id or a title. */
export function personBox({ value, chooseUser, missed }) {
  const user = (text, count) => ({
    text: `User ${text}`,
    detail: count >= 1000 ? "1000 events and more" : count === 1 ? "1 event" : `${count} events`,
    choose: () => chooseUser(text),
  });
  return box({
    label: "User id or movie title",
    value,
    placeholder: "For example 42, or toy story",
    suggest: async (text) => {
      const [count, found] = await Promise.all([events(text).catch(() => 0), movies(text)]);
      const titles = found.map(({ item }) => ({
        text: item.title,
        detail: described(item),
        choose: () => openTitle(item.id),
      }));
      return count ? [user(text, count), ...titles] : titles;
    },
    enter: async (text) => {
      const [count, [best]] = await Promise.all([events(text).catch(() => 0), movies(text, 1)]);
      if (count) chooseUser(text);
      else if (best) openTitle(best.item.id);
      else missed(`${noMovie(text)} Nor has any user of that id a history.`);
    },
  });
}
