// Elements, built without markup: text stays text, whatever a title holds.

/** An element; `properties` are its own properties, but for class, data, on (listeners) and names with a hyphen or role. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") element.className = value;
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "on") for (const [type, listen] of Object.entries(value)) element.addEventListener(type, listen);
    else if (name in element && !name.includes("-") && name !== "role" && name !== "list") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

/** A table that scrolls sideways where it must; `rows` are elements. */
export function table(label, heads, rows) {
  return h(
    "div",
    { class: "scroll", tabIndex: 0, role: "region", "aria-label": label },
    h(
      "table",
      { class: "wide" },
      h("caption", { class: "hidden" }, label),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          heads.map((head) => h("th", { scope: "col" }, head)),
        ),
      ),
      h("tbody", {}, rows),
    ),
  );
}

const SVG = "http://www.w3.org/2000/svg";

/** An SVG element with attributes. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Says something to people who do not see the page change. */
export function say(text) {
  document.getElementById("said").textContent = text;
}

/** A line at the top of the page; empty: none. */
export function notice(text) {
  const line = document.getElementById("notice");
  if (line.textContent !== text) line.textContent = text;
  line.hidden = !text;
}

/** Calls `work` once nothing has happened for `milliseconds`. */
export function settled(work, milliseconds) {
  let timer;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...values), milliseconds);
  };
}

export const number = (value, digits = 2) => Number(value ?? 0).toFixed(digits);

/** "3 days ago", for a moment in unix seconds. */
export function ago(seconds) {
  const units = [
    ["year", 31557600],
    ["month", 2629800],
    ["day", 86400],
    ["hour", 3600],
    ["minute", 60],
    ["second", 1],
  ];
  const past = Date.now() / 1000 - seconds;
  const [unit, size] = units.find(([, size]) => past >= size) ?? units.at(-1);
  return new Intl.RelativeTimeFormat("en", { numeric: "auto" }).format(-Math.round(past / size), unit);
}

export const day = (seconds) => new Date(1000 * seconds).toISOString().slice(0, 10);
