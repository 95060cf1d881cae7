/** What this visitor has chosen: the key, the theme. The key is gone when the tab is closed. */
import { atom } from "./store.js";

const KEY = "holdfast.key";
const THEME = "holdfast.theme";

export const key = atom(read(sessionStorage, KEY));
export const theme = atom(read(localStorage, THEME) || "system");

/** Whether the dialog that asks for a key is open, and why it was opened. */
export const keyDialog = atom(null);

key.subscribe((value) => write(sessionStorage, KEY, value));
theme.subscribe((value) => {
  write(localStorage, THEME, value === "system" ? "" : value);
  applyTheme();
});

export function applyTheme() {
  const chosen = theme.get();
  if (chosen === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
}

// A browser may forbid a page to keep anything; the page then works, and forgets.
function read(storage, name) {
  try {
    return storage.getItem(name) || "";
  } catch {
    return "";
  }
}

function write(storage, name, value) {
  try {
    if (value) storage.setItem(name, value);
    else storage.removeItem(name);
  } catch {
    // It is kept until the page is left.
  }
}
