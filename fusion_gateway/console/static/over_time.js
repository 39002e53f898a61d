// Lines with intervals, by day.
import { day, h, number, svg } from "./dom.js";

const WIDTH = 600,
  HEIGHT = 200;

/**
 * A chart, and its numbers below. Each of `series` has name, color (a class) and points: time (unix seconds), value, low,
 * high. `zero`: with a line at 0.
 */
export function overTime(title, series, { zero = false } = {}) {
  const points = series.flatMap((each) => each.points);
  if (!points.length) return null;
  const times = points.map((point) => point.time);
  const values = [...points.flatMap(({ low, high }) => [low, high]), ...(zero ? [0] : [])];
  const x = scale(Math.min(...times), Math.max(...times), 0, WIDTH);
  const y = scale(Math.min(...values), Math.max(...values), HEIGHT, 0);
  const chart = svg("svg", { viewBox: `0 -4 ${WIDTH} ${HEIGHT + 8}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  if (zero) chart.append(line(`M0 ${y(0)} H${WIDTH}`, "zero"));
  for (const { color, points } of series) {
    const up = points.map(({ time, high }) => `${x(time)} ${y(high)}`);
    const down = points.map(({ time, low }) => `${x(time)} ${y(low)}`).reverse();
    if (points.length === 1) chart.append(line(`M${up[0]} L${down[0]}`, `end ${color}`));
    else chart.append(svg("path", { d: `M${[...up, ...down].join(" L")} Z`, class: `band ${color}` }));
    chart.append(line(`M${points.map(({ time, value }) => `${x(time)} ${y(value)}`).join(" L")}`, `value ${color}`));
  }
  return h(
    "figure",
    { class: "over-time" },
    h("figcaption", {}, title),
    h(
      "ul",
      { class: "legend", "aria-hidden": "true" },
      series.map(({ name, color }) => h("li", {}, h("span", { class: `swatch ${color}` }), name)),
    ),
    h(
      "div",
      { class: "axes", "aria-hidden": "true" },
      h("span", {}, number(Math.max(...values), 3)),
      chart,
      h("span", {}, number(Math.min(...values), 3)),
    ),
    h("div", { class: "ends", "aria-hidden": "true" }, h("span", {}, lastDay(Math.min(...times))), h("span", {}, lastDay(Math.max(...times)))),
    numbers(title, series),
  );
}

/** One that is the same everywhere has the middle. */
const scale = (from, to, start, end) => (value) =>
  to > from ? start + ((value - from) / (to - from)) * (end - start) : (start + end) / 2;

const line = (d, name) => svg("path", { d, class: name, "vector-effect": "non-scaling-stroke" });

/** A day is over where the next one begins. */
const lastDay = (time) => day(time - 1);

function numbers(title, series) {
  const rows = series.flatMap(({ name, points }) =>
    points.map(({ time, value, low, high }) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, lastDay(time)),
        h("td", {}, name),
        h("td", {}, number(value, 4)),
        h("td", {}, `${number(low, 4)} to ${number(high, 4)}`),
      ),
    ),
  );
  const heads = ["By the end of", "Policy", "Value", "Interval"];
  return h(
    "details",
    { class: "numbers" },
    h("summary", {}, "Numbers"),
    h(
      "div",
      { class: "scroll", tabIndex: 0, role: "region", "aria-label": title },
      h(
        "table",
        {},
        h("caption", { class: "hidden" }, title),
        h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
        h("tbody", {}, rows),
      ),
    ),
  );
}
