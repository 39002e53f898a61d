// The box that takes a user id or a title, and what is known of a person.
import { call } from "./api.js";
import { box } from "./controls.js";
import { day } from "./dom.js";

export const noMovie = (title) => `Oops, no movie found with a title similar to '${title}'.`;

export const openTitle = (id) => location.assign(`/title?id=${encodeURIComponent(id)}`);

/** Users with events whose ids begin so; the one of that very id comes first. */
const users = async (prefix, limit = 4) => (await call("ListUsers", { prefix, limit })).users ?? [];

const movies = async (text, k = 6) => (await call("SearchItems", { title: text, k })).matches ?? [];

const described = (item) => [item.year, item.director?.split("|")[0]].filter(Boolean).join(" · ");

/** A box for a user id, also of someone without a history; `chosen("")` where it is emptied. */
export function userBox({ label, placeholder, value, chosen }) {
  const choose = (user) => {
    input.value = user;
    if (user !== value) chosen((value = user));
  };
  const { element, input } = box({
    label,
    placeholder,
    value,
    optional: true,
    suggest: async (text) => (await users(text, 6)).map((user) => suggestion(user, choose)),
    enter: choose,
  });
  input.addEventListener("change", () => choose(input.value.trim()));
  return element;
}

const suggestion = ({ id, newestEventTime }, chosen) => ({
  text: `User ${id}`,
  detail: `last event ${day(Number(newestEventTime ?? 0))}`,
  choose: () => chosen(id),
});

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
  return box({
    label: "User id or movie title",
    value,
    placeholder: "For example 42, or toy story",
    suggest: async (text) => {
      const [people, found] = await Promise.all([users(text).catch(() => []), movies(text)]);
      const titles = found.map(({ item }) => ({
        text: item.title,
        detail: described(item),
        choose: () => openTitle(item.id),
      }));
      return [...people.map((user) => suggestion(user, chooseUser)), ...titles];
    },
    enter: async (text) => {
      const [[first], [best]] = await Promise.all([users(text, 1).catch(() => []), movies(text, 1)]);
      if (first?.id === text) chooseUser(text);
      else if (best) openTitle(best.item.id);
      else missed(`${noMovie(text)} Nor has any user of that id a history.`);
    },
  });
}
