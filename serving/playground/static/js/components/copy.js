/** Text to take along. */
import { html, useState } from "../dom.js";
import { Icon } from "./icon.js";

export function Copy({ label, text }) {
  const [state, setState] = useState("");
  async function copy() {
    try {
      await navigator.clipboard.writeText(text);
      setState("Copied");
    } catch {
      setState("Select it below, and copy");
    }
    setTimeout(() => setState(""), 2000);
  }
  return html`
    <details class="snippet">
      <summary>${label}</summary>
      <div>
        <button type="button" class="quiet" onClick=${copy}><${Icon} name=${state === "Copied" ? "done" : "copy"} />${state || "Copy"}</button>
        <span class="sr" role="status">${state}</span>
        <pre tabindex="0">${text}</pre>
      </div>
    </details>
  `;
}
