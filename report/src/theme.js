// Light and dark: as the system says, until someone chooses.
import { h } from "./dom.js";

const KEY = "chainrule-theme";
const CHOICES = [
  ["auto", "Auto"],
  ["light", "Light"],
  ["dark", "Dark"],
];

// A file opened from a disk may have no storage.
function stored() {
  try {
    return localStorage.getItem(KEY) || "auto";
  } catch {
    return "auto";
  }
}

export function startTheme(page) {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const buttons = CHOICES.map(([id, name]) =>
    h("button", { type: "button", "data-theme-choice": id, onclick: () => choose(id) }, name),
  );
  let choice = stored();
  function apply() {
    const theme = choice === "auto" ? (dark.matches ? "dark" : "light") : choice;
    document.documentElement.dataset.theme = theme;
    buttons.forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.themeChoice === choice)));
    page.say("theme");
  }
  function choose(id) {
    choice = id;
    try {
      localStorage.setItem(KEY, id);
    } catch {
      /* remembered for as long as the page is open */
    }
    apply();
  }
  dark.addEventListener("change", apply);
  apply();
  return h("div", { class: "theme", role: "group", "aria-label": "Colours" }, buttons);
}
