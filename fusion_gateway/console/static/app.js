// Which page is shown, and the theme.
import { notice } from "./dom.js";

const pages = {
  "/": ["Recommend", () => import("./recommend.js")],
  "/title": ["Title", () => import("./title.js")],
  "/compare": ["Compare", () => import("./compare.js")],
  "/experiments": ["Experiments", () => import("./experiments.js")],
  "/models": ["Models", () => import("./models.js")],
  "/api": ["API", () => import("./api_page.js")],
};

const theme = document.getElementById("theme");
const isDark = () => {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
};
const nameTheme = () => {
  theme.textContent = isDark() ? "Light" : "Dark";
  theme.setAttribute("aria-label", `Use the ${theme.textContent.toLowerCase()} theme`);
};
theme.addEventListener("click", () => {
  const chosen = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = chosen;
  try {
    localStorage.setItem("marquee-theme", chosen);
  } catch {
    /* without storage, for this page only */
  }
  nameTheme();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", nameTheme);
nameTheme();

const [name, load] = pages[location.pathname] ?? pages["/"];
document.title = `${name} · Marquee`;
for (const link of document.querySelectorAll("nav a"))
  if (link.getAttribute("href") === location.pathname) link.setAttribute("aria-current", "page");
try {
  const page = await load();
  page.show(document.getElementById("main"));
} catch (error) {
  notice(`This page could not be loaded: ${error.message}. Load it again.`);
  console.error(error);
}
