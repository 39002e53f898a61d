// The calls of the gateway as JSON over HTTP, to read about and to try.
import { asCall } from "./as_call.js";
import { change, state } from "./address.js";
import { call } from "./api.js";
import { choice } from "./controls.js";
import { h } from "./dom.js";

const EXAMPLES = {
  Recommend: { k: 5, explain: true },
  SimilarItems: { title: "toy story", k: 5 },
  SearchItems: { title: "toy", k: 5 },
  GetItems: { itemIds: ["1"] },
  RecordEvents: { events: [{ userId: "someone", itemId: "1", rating: 4 }] },
  GetHistory: { userId: "1", limit: 5 },
  ListUsers: { prefix: "1", limit: 5 },
  DeleteUser: { userId: "someone" },
  GetOutcomes: { metric: "click" },
};

export async function show(main) {
  const api = await fetch("/openapi.json").then((response) => response.json());
  const paths = Object.entries(api.paths);
  const methods = paths.map(([path]) => path.split("/").at(-1));
  const shown = h("div");
  const pick = (method) => {
    change({ method });
    shown.replaceChildren(...one(api, method));
  };
  const first = methods.includes(state().get("method")) ? state().get("method") : methods[0];
  main.replaceChildren(
    h("h1", {}, "API"),
    h(
      "p",
      {},
      "Every call of the gateway, as JSON over HTTP by the Connect protocol: for curl, browsers and Connect clients. The same calls are there by gRPC. ",
      h("a", { href: "/openapi.json" }, "OpenAPI document"),
    ),
    choice({ label: "Call", value: first, options: methods.map((method) => [method, method]), chosen: pick }),
    shown,
  );
  pick(first);
}

function one(api, method) {
  const path = `/marquee.v1.Recommender/${method}`;
  const operation = api.paths[path].post;
  const text = h("textarea", {
    id: "request",
    rows: 8,
    spellcheck: false,
    value: JSON.stringify(EXAMPLES[method] ?? {}, null, 2),
  });
  const answer = h(
    "pre",
    { class: "answer", tabIndex: 0, role: "region", "aria-label": "Answer" },
    "Nothing has been sent yet.",
  );
  const calls = h("details", { class: "as-call" }, h("summary", {}, "As a call"));
  const parsed = () => JSON.parse(text.value || "{}");
  calls.addEventListener("toggle", async () => {
    if (!calls.open) return;
    try {
      calls.replaceChildren(calls.firstChild, ...(await asCall(method, parsed())));
    } catch (error) {
      answer.textContent = error.message;
    }
  });
  const send = async () => {
    const began = performance.now();
    try {
      const found = await call(method, parsed());
      answer.textContent = `${JSON.stringify(found, null, 2)}\n\n${Math.round(performance.now() - began)} ms`;
    } catch (error) {
      answer.textContent = error.code ? `${error.code}: ${error.message}` : `This is not JSON: ${error.message}`;
    }
  };
  return [
    h("p", {}, prose(operation.description)),
    h(
      "div",
      { class: "try" },
      h(
        "div",
        {},
        h("label", { htmlFor: "request" }, "Request"),
        text,
        h("button", { type: "button", class: "primary", on: { click: send } }, `Send ${method}`),
      ),
      h("div", {}, h("h2", {}, "Answer"), answer),
    ),
    calls,
    h("h2", {}, "What the request holds"),
    ...messages(api, `${method}Request`),
    h("h2", {}, "What the answer holds"),
    ...messages(api, `${method}Response`),
  ];
}

function typeOf(property) {
  if (property.$ref) return property.$ref.split("/").at(-1);
  if (property.type === "array") return `list of ${typeOf(property.items)}`;
  if (property.additionalProperties) return `name to ${typeOf(property.additionalProperties)}`;
  return property.format ?? property.type;
}

/** The fields of a message, and of those that it is made of. */
function messages(api, top) {
  const schemas = api.components.schemas;
  const names = new Set([top]);
  const find = (schema) => {
    for (const property of Object.values(schema.properties ?? {})) {
      const name = namedIn(property);
      if (!name || names.has(name)) continue;
      names.add(name);
      find(schemas[name]);
    }
  };
  find(schemas[top]);
  return [...names].map((name) => fields(name, schemas));
}

function namedIn(property) {
  const inner = property.items ?? property.additionalProperties ?? property;
  return inner.$ref?.split("/").at(-1);
}

/** A comment of the proto, with names in `backticks` as code. */
const prose = (text = "") => text.split("`").map((part, index) => (index % 2 ? h("code", {}, part) : part));

function fields(title, schemas) {
  const schema = schemas[title];
  const row = ([name, property]) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, h("code", {}, name)),
      h("td", {}, typeOf(property)),
      h("td", {}, prose(property.description ?? schemas[namedIn(property)]?.description)),
    );
  const rows = Object.entries(schema.properties ?? {}).map(row);
  const heads = ["Field", "Type", "Meaning"].map((head) => h("th", { scope: "col" }, head));
  const table = h("table", { class: "fields" }, h("thead", {}, h("tr", {}, heads)), h("tbody", {}, rows));
  return h(
    "section",
    { class: "message" },
    h("h3", {}, title),
    h("p", { class: "muted" }, prose(schema.description)),
    rows.length ? h("div", { class: "scroll", tabIndex: 0, role: "region", "aria-label": title }, table) : null,
  );
}
