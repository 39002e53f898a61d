// The gateway's calls, by the Connect protocol: JSON in, JSON out.
import { h, notice } from "./dom.js";

const TOKEN = "marquee-token";
const AGAIN_MS = 2000;

export class CallError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** The answer of one call. Throws CallError; asks for a token where one is needed, and calls again. */
export async function call(method, request = {}, { signal, timeout = 8000 } = {}) {
  for (;;) {
    const response = await post(method, request, signal, timeout);
    if (response.ok) return response.json();
    const error = await response.json().catch(() => ({ code: "unknown", message: `HTTP ${response.status}` }));
    if (error.code !== "unauthenticated") throw new CallError(error.code, error.message);
    await askForToken(error.message);
  }
}

async function post(method, request, signal, timeout) {
  const headers = {
    "Content-Type": "application/json",
    "Connect-Protocol-Version": "1",
    "Connect-Timeout-Ms": `${timeout}`,
  };
  const token = sessionStorage.getItem(TOKEN);
  if (token) headers.Authorization = `Bearer ${token}`;
  try {
    const body = JSON.stringify(request);
    return await fetch(`/marquee.v1.Recommender/${method}`, { method: "POST", headers, body, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new CallError("unavailable", "the console does not answer");
  }
}

/** Whether calls show a token. */
export const hasToken = () => sessionStorage.getItem(TOKEN) !== null;

let asking;

/** Resolves once there is a new token; it is kept for this tab, until it is closed. */
function askForToken(why) {
  asking ??= new Promise((resolve) => {
    const input = h("input", { type: "password", id: "token", required: true, autocomplete: "off", spellcheck: false });
    const dialog = h(
      "dialog",
      { "aria-labelledby": "token-title", class: "token" },
      h(
        "form",
        { method: "dialog", on: { submit: () => sessionStorage.setItem(TOKEN, input.value.trim()) } },
        h("h2", { id: "token-title" }, "This gateway asks for a token"),
        h("p", {}, why),
        h("label", { htmlFor: "token" }, "Token"),
        input,
        h("p", { class: "muted" }, "It is kept in this tab only, until the tab is closed."),
        h("button", { class: "primary" }, "Use it"),
      ),
    );
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    dialog.addEventListener("close", () => {
      dialog.remove();
      asking = undefined;
      resolve();
    });
    document.body.append(dialog);
    dialog.showModal();
  });
  return asking;
}

/** What the console says of itself: gateway, posters, readOnly, tls. */
export const about = fetch("/about.json").then((response) => response.json());

/** What is wrong, in words that say what to do. */
export function inWords(error, gateway = "the gateway") {
  const why = error.message.replace(/^failed to connect to all addresses.*: /, ""); // gRPC's own words
  const words = {
    unavailable: `${gateway} does not answer (${why}). Trying again every ${AGAIN_MS / 1000} seconds; the page goes on by itself.`,
    deadline_exceeded: `${gateway} took too long. Trying again.`,
    resource_exhausted: `${gateway} has too much to do (${error.message}). Trying again.`,
    permission_denied: `Not allowed: ${error.message}.`,
  };
  return (
    words[error.code] ??
    (error instanceof CallError ? `That did not work: ${error.message}.` : `A fault of this page: ${error.message}`)
  );
}

const PASSING = ["unavailable", "deadline_exceeded", "resource_exhausted"];

/**
 * Runs `work(signal)`; a newer run ends the one before. What may pass is tried again until it does; other errors are
 * shown by `show(error)`, or in the notice.
 */
export function latest(work, show) {
  let controller, timer;
  return async function run(...values) {
    clearTimeout(timer);
    controller?.abort();
    controller = new AbortController();
    const { signal } = controller;
    try {
      const result = await work(signal, ...values);
      if (!signal.aborted) notice("");
      return result;
    } catch (error) {
      if (error.name === "AbortError" || signal.aborted) return undefined;
      if (PASSING.includes(error.code)) {
        notice(inWords(error, `The gateway at ${(await about).gateway}`));
        timer = setTimeout(() => run(...values), AGAIN_MS);
      } else if (show) show(error);
      else notice(inWords(error));
      if (!(error instanceof CallError)) console.error(error);
      return undefined;
    }
  };
}
