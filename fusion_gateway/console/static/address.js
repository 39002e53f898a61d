// The state of a page is its address, so that it can be sent to someone.

export const state = () => new URLSearchParams(location.search);

/** Sets some parameters; undefined and "" take one away. `push`: the back button leads back from here. */
export function change(changes, { push = false } = {}) {
  const parameters = state();
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined || value === "" || value === null) parameters.delete(name);
    else parameters.set(name, value);
  }
  const address = `${location.pathname}${parameters.size ? `?${parameters}` : ""}`;
  if (address !== `${location.pathname}${location.search}`)
    history[push ? "pushState" : "replaceState"](null, "", address);
  return parameters;
}

/** Parameters such as w.rating=0.5, as {rating: 0.5}, without those that are no numbers. */
export function weights(parameters, prefix = "w.") {
  const found = [...parameters].filter(([name, value]) => name.startsWith(prefix) && Number.isFinite(Number(value)));
  return Object.fromEntries(found.map(([name, value]) => [name.slice(prefix.length), Number(value)]));
}

/** What takes all these parameters away. */
export const without = (parameters, prefix = "w.") =>
  Object.fromEntries([...parameters.keys()].filter((name) => name.startsWith(prefix)).map((name) => [name, undefined]));

export const list = (parameters, name) => parameters.get(name)?.split(",").filter(Boolean) ?? [];
