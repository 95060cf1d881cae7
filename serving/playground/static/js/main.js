/** The playground begins. */
import { App } from "./app.js";
import { html, render } from "./dom.js";
import { applyTheme } from "./session.js";

applyTheme();
const root = document.getElementById("app");
root.replaceChildren();
render(html`<${App} />`, root);
