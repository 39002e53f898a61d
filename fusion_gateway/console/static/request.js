// What the address of the Recommend page stands for.
import { list, weights } from "./address.js";

/** The history of a new person, as the address holds it: id:rating,id:rating. */
export const picked = (parameters) =>
  list(parameters, "picked").map((each) => {
    const cut = each.lastIndexOf(":");
    return { itemId: decoded(each.slice(0, cut)), rating: Number(each.slice(cut + 1)) };
  });
/** An address that was cut or retyped on its way can hold what is no code of a character. */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export const pickedText = (events) =>
  events.map(({ itemId, rating }) => `${encodeURIComponent(itemId)}:${rating}`).join(",");

/** Whom the page is about: a user, a new person, or nobody in particular. */
export const mode = (parameters) => (parameters.has("user") ? "user" : parameters.has("new") ? "new" : "anonymous");

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
