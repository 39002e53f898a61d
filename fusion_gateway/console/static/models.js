// What serves, and what was published.
import { call, latest } from "./api.js";
import { ago, h, number, table } from "./dom.js";
import { color, legend, modelName } from "./movies.js";

const EVERY_MS = 5000;

export function show(main) {
  const parts = { gateway: h("p", { class: "muted" }, "…"), models: h("div"), policies: h("div"), published: h("div", { class: "published" }) };
  const follow = h("input", { type: "checkbox", id: "follow", checked: true });
  main.replaceChildren(
    h(
      "div",
      { class: "list-head" },
      h("h1", {}, "Models"),
      h("span", { class: "follow" }, follow, h("label", { htmlFor: "follow" }, "Follow, every 5 seconds")),
    ),
    parts.gateway,
    parts.models,
    h("h2", {}, "Policies"),
    parts.policies,
    h("h2", {}, "What was published"),
    parts.published,
  );
  const refresh = latest(async (signal) => {
    const status = await call("GetStatus", {}, { signal });
    const models = status.models ?? [];
    const lacking = Number(status.degradedAnswers ?? 0),
      answers = Number(status.answers ?? 0);
    parts.gateway.textContent =
      `Catalog ${status.catalogVersion} with ${whole(status.catalogItems)} movies · fusion ${status.fusionVersion ?? 0} · last five minutes: ${answers} ${answers === 1 ? "answer" : "answers"}, ` +
      (answers ? `${number((100 * lacking) / answers, 1)} % of them degraded` : "none of them degraded");
    parts.models.replaceChildren(
      models.length
        ? serving(models)
        : h("p", {}, "No model serves: answers come from popularity. Give the gateway a --scorer."),
    );
    parts.policies.replaceChildren(policies(status));
    parts.published.replaceChildren(...published(models));
  });
  setInterval(() => {
    if (follow.checked && !document.hidden) refresh();
  }, EVERY_MS);
  refresh();
}

function serving(models) {
  const slowest = Math.max(1, ...models.map((model) => model.p99Ms ?? 0));
  const age = (model) => (model.published?.createdAt ? ago(Date.parse(model.published.createdAt) / 1000) : "");
  const state = (model) =>
    !model.ready ? ["bad", "not ready"] : model.circuitOpen ? ["bad", "not called"] : ["good", "ready"];
  const row = (model) => {
    const [kind, text] = state(model);
    return h(
      "tr",
      {},
      h(
        "th",
        { scope: "row" },
        h("span", { class: `swatch ${color(model.name)}`, "aria-hidden": "true" }),
        modelName(model.name),
      ),
      h("td", {}, h("span", { class: `state ${kind}` }, text)),
      h("td", {}, model.version && model.version !== "0" ? model.version : "not known yet"),
      h("td", {}, age(model)),
      h("td", {}, model.circuitOpen ? "open" : "closed"),
      h("td", {}, `${model.calls ?? 0}`),
      h("td", {}, `${model.failedCalls ?? 0}`),
      h("td", {}, latency(model, slowest)),
      h("td", {}, h("code", {}, model.address)),
    );
  };
  return table(
    "Model servers, over the last five minutes",
    ["Model", "State", "Version", "Made", "Circuit breaker", "Calls", "Failed", "p50 and p99", "Address"],
    models.map(row),
  );
}

function latency(model, slowest) {
  const text = model.p50Ms ? `${number(model.p50Ms, 1)} / ${number(model.p99Ms, 1)} ms` : "no answer";
  const track = h("span", { class: "latency", "aria-hidden": "true" });
  for (const [name, value] of [
    ["p99", model.p99Ms ?? 0],
    ["p50", model.p50Ms ?? 0],
  ]) {
    const mark = h("span", { class: name });
    mark.style.width = `${(100 * value) / slowest}%`;
    track.append(mark);
  }
  return h("span", { class: "with-chart" }, text, track);
}

function policies(status) {
  const models = [...new Set((status.policySettings ?? []).flatMap(({ weights = {} }) => Object.keys(weights)))].sort();
  const row = ({ name, strategy, weights = {} }) => {
    const total = Object.values(weights).reduce((sum, weight) => sum + weight, 0) || 1;
    const track = h("span", { class: "bar", "aria-hidden": "true" });
    let left = 0;
    for (const model of models) {
      const share = (100 * (weights[model] ?? 0)) / total;
      if (share < 0.2) continue;
      const segment = h("span", { class: `segment ${color(model)}` });
      segment.style.left = `${left}%`;
      segment.style.width = `${share}%`;
      left += share;
      track.append(segment);
    }
    return h(
      "tr",
      {},
      h(
        "th",
        { scope: "row" },
        name,
        name === status.defaultPolicy ? h("span", { class: "muted" }, " (default)") : null,
      ),
      h("td", {}, strategy),
      h("td", { class: "chart" }, track),
      models.map((model) => h("td", {}, number(weights[model]))),
    );
  };
  return h(
    "div",
    {},
    legend(models),
    table(
      "Policies and their weights",
      ["Policy", "Strategy", "Shares", ...models.map(modelName)],
      (status.policySettings ?? []).map(row),
    ),
  );
}

const whole = (text) => Number(text ?? 0).toLocaleString("en");

/** Counts as they are; what is between has a bar, which is full for the largest of all models. */
function measured({ value = 0 }, largest, model) {
  if (Number.isInteger(value)) return value.toLocaleString("en");
  const mark = h("span", { class: color(model) });
  mark.style.width = `${(100 * Math.max(value, 0)) / (largest || 1)}%`;
  return h(
    "span",
    { class: "with-chart" },
    number(value, 4),
    h("span", { class: "latency", "aria-hidden": "true" }, mark),
  );
}

function published(models) {
  const known = models.filter((model) => model.published);
  if (!known.length)
    return [
      h(
        "p",
        { class: "muted" },
        "Nothing is known yet: a model's version shows once it has answered, and its manifest where the gateway's model repository has that version.",
      ),
    ];
  const largest = new Map();
  for (const { name, value = 0 } of known.flatMap(({ published: made }) => made.metrics ?? []))
    largest.set(name, Math.max(largest.get(name) ?? 0, value));
  return known.map(({ name, version, published: made }) => {
    const facts = [
      ["Recipe", made.recipe],
      ["Data", `${made.dataset}: ${whole(made.events)} events of ${whole(made.users)} users and ${whole(made.items)} items`],
      ["Made", made.createdAt],
      ["Commit", made.gitCommit],
    ];
    const metrics = made.metrics ?? [];
    const protocols = [...new Set(metrics.map((metric) => metric.protocol))];
    if (protocols.length === 1) facts.push(["Measured on", protocols[0]]);
    return h(
      "section",
      { class: "made" },
      h("h3", {}, `${modelName(name)} ${version}`),
      h(
        "dl",
        {},
        facts.filter(([, text]) => text).map(([term, text]) => [h("dt", {}, term), h("dd", {}, text)]),
      ),
      metrics.length
        ? table(
            `Metrics of ${modelName(name)}`,
            ["Metric", "Value", ...(protocols.length > 1 ? ["Measured on"] : [])],
            metrics.map((metric) =>
              h(
                "tr",
                {},
                h("th", { scope: "row" }, metric.name),
                h("td", {}, measured(metric, largest.get(metric.name), name)),
                protocols.length > 1 ? h("td", {}, metric.protocol) : null,
              ),
            ),
          )
        : null,
    );
  });
}
