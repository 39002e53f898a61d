// What one moves and types in: sliders, choices, and the box with suggestions.
import { h, number, settled } from "./dom.js";
import { color, modelName } from "./movies.js";

let ids = 0;
const newId = () => `c${(ids += 1)}`;

/** A labelled slider; `moved(value)` is called once it is let go, or rests for 60 ms. */
export function slider({ label, swatch, value, min = 0, max = 1, step = 0.01, show = (v) => number(v), help, moved }) {
  const id = newId();
  const output = h("output", { htmlFor: id }, show(value));
  const input = h("input", { type: "range", id, min, max, step, value });
  let last = input.value;
  const tellNow = () => {
    // One that was taken away meanwhile, as by another policy, says no more.
    if (input.isConnected && input.value !== last) moved(Number((last = input.value)));
  };
  const tell = settled(tellNow, 60);
  input.addEventListener("change", tellNow);
  input.addEventListener("input", () => {
    output.textContent = show(Number(input.value));
    input.setAttribute("aria-valuetext", output.textContent);
    tell();
  });
  input.setAttribute("aria-valuetext", show(value));
  return h(
    "div",
    { class: "slider" },
    h(
      "label",
      { htmlFor: id, title: help },
      swatch ? h("span", { class: `swatch ${swatch}`, "aria-hidden": "true" }) : null,
      label,
    ),
    output,
    input,
  );
}

/** Sliders for weights by name; `set` are those that differ from `own`. */
export function weightSliders(names, own, set, moved) {
  const largest = Math.max(0, ...Object.values(own));
  const max = largest > 1 ? Math.ceil(2 * largest) : 1;
  return names.map((name) =>
    slider({
      label: modelName(name),
      swatch: color(name),
      value: set[name] ?? own[name] ?? 0,
      max: Math.max(max, set[name] ?? 0),
      step: max / 100,
      moved: (value) => moved(name, value),
    }),
  );
}

export function choice({ label, options, value, chosen }) {
  const id = newId();
  // An address can hold what is not offered; unless it shows, the control says something else than the list.
  const known = options.some(([key]) => key === value);
  const select = h(
    "select",
    { id, on: { change: () => chosen(select.value) } },
    (known ? options : [[value, value], ...options]).map(([key, text]) => h("option", { value: key, selected: key === value }, text)),
  );
  return h("div", { class: "choice" }, h("label", { htmlFor: id }, label), select);
}

export function field({ label, value = "", type = "text", min, max, placeholder, changed }) {
  const id = newId();
  const input = h("input", {
    id,
    type,
    value,
    min,
    max,
    placeholder,
    autocomplete: "off",
    on: { change: () => input.reportValidity() && changed(input.value.trim()) },
  });
  return h("div", { class: "choice" }, h("label", { htmlFor: id }, label), input);
}

/** Names, of which any number can be chosen. */
export function several({ label, names, value, changed }) {
  const chosen = new Set(value);
  const chip = (name) => {
    const button = h(
      "button",
      {
        type: "button",
        class: "chip",
        "aria-pressed": String(chosen.has(name)),
        on: {
          click: () => {
            if (!chosen.delete(name)) chosen.add(name);
            button.setAttribute("aria-pressed", String(chosen.has(name)));
            changed(names.filter((each) => chosen.has(each)));
          },
        },
      },
      name,
    );
    return button;
  };
  return h(
    "div",
    { class: "choice" },
    h("span", { class: "label" }, label),
    h("div", { class: "chips", role: "group", "aria-label": label }, names.map(chip)),
  );
}

/** Genres, each required, excluded or neither; a press goes on to the next. */
export function genres(names, any, none, changed) {
  const turns = { "": "any", any: "none", none: "" };
  const words = { "": "does not matter", any: "required", none: "excluded" };
  const states = Object.fromEntries(
    names.map((name) => [name, any.includes(name) ? "any" : none.includes(name) ? "none" : ""]),
  );
  const chip = (name) => {
    const button = h("button", { type: "button", class: "chip" });
    const draw = () => {
      button.dataset.state = states[name];
      button.textContent = name;
      button.setAttribute("aria-label", `${name}: ${words[states[name]]}`);
    };
    button.addEventListener("click", () => {
      states[name] = turns[states[name]];
      draw();
      changed(
        names.filter((each) => states[each] === "any"),
        names.filter((each) => states[each] === "none"),
      );
    });
    draw();
    return button;
  };
  return h("div", { class: "chips", role: "group", "aria-label": "Genres" }, names.map(chip));
}

/**
 * A box with suggestions. `suggest(text)` resolves to [{text, detail, choose}]; `enter(text)` is called for a text that is
 * entered without choosing one; where it is `optional`, for "" too.
 */
export function box({ label, value = "", placeholder, optional = false, suggest, enter }) {
  const id = newId(),
    listId = newId();
  const input = h("input", {
    id,
    type: "text",
    value,
    placeholder,
    role: "combobox",
    autocomplete: "off",
    spellcheck: false,
    maxLength: 256,
    "aria-expanded": "false",
    "aria-controls": listId,
    "aria-autocomplete": "list",
  });
  const suggestions = h("ul", { id: listId, role: "listbox", "aria-label": "Suggestions", hidden: true });
  let options = [],
    active = -1,
    turn = 0;

  function close() {
    turn += 1;
    options = [];
    draw();
  }
  function draw() {
    suggestions.replaceChildren(
      ...options.map((option, index) =>
        h(
          "li",
          {
            id: `${listId}-${index}`,
            role: "option",
            "aria-selected": String(index === active),
            on: {
              mousedown: (event) => {
                event.preventDefault();
                take(index);
              },
            },
          },
          h("bdi", {}, option.text),
          option.detail ? h("span", { class: "detail" }, option.detail) : null,
        ),
      ),
    );
    suggestions.hidden = !options.length;
    input.setAttribute("aria-expanded", String(options.length > 0));
    if (active >= 0) {
      input.setAttribute("aria-activedescendant", `${listId}-${active}`);
      suggestions.children[active]?.scrollIntoView({ block: "nearest" });
    } else input.removeAttribute("aria-activedescendant");
  }
  function take(index) {
    const option = options[index];
    close();
    option.choose();
  }
  const look = settled(async () => {
    const text = input.value.trim(),
      mine = (turn += 1);
    const found = text ? await suggest(text).catch(() => []) : [];
    if (mine !== turn || document.activeElement !== input) return;
    options = found;
    active = -1;
    draw();
  }, 120);
  input.addEventListener("input", look);
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (!options.length) {
        look();
        return;
      }
      const step = event.key === "ArrowDown" ? 1 : -1;
      active = (active + step + options.length + (active < 0 && step < 0 ? 1 : 0)) % options.length;
      draw();
    } else if (event.key === "Escape") close();
    else if (event.key === "Enter") {
      event.preventDefault();
      const text = input.value.trim();
      if (active >= 0) take(active);
      else if (text || optional) {
        close();
        enter(text);
      }
    }
  });
  return {
    element: h(
      "div",
      { class: "box" },
      h("label", { htmlFor: id }, label),
      h("div", { class: "under" }, input, suggestions),
    ),
    input,
  };
}

/** A text to copy. */
export function copyable(title, text) {
  const button = h(
    "button",
    {
      type: "button",
      "aria-label": `Copy ${title}`,
      on: {
        click: async () => {
          await navigator.clipboard?.writeText(text);
          button.textContent = "Copied";
          setTimeout(() => {
            button.textContent = "Copy";
          }, 1500);
        },
      },
    },
    "Copy",
  );
  return h(
    "div",
    { class: "copyable" },
    h("div", { class: "head" }, h("h3", {}, title), button),
    h("pre", { tabIndex: 0, role: "region", "aria-label": title }, text),
  );
}
