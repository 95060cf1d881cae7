/** Asks for an API key. */
import { Dialog } from "./components/dialog.js";
import { html, useEffect, useState } from "./dom.js";
import { key, keyDialog } from "./session.js";
import { useAtom } from "./store.js";

const WHY = {
  unauthenticated: "This server answers whoever shows a key.",
  "missing-scope": "Your key does not have the scope that this needs. Another key may.",
  asked: "A key is only needed where the server asks for one.",
};

export function KeyDialog() {
  const why = useAtom(keyDialog);
  const current = useAtom(key);
  const [typed, setTyped] = useState("");
  useEffect(() => setTyped(""), [why]);
  const close = () => keyDialog.set(null);
  function save(event) {
    event.preventDefault();
    if (typed.trim()) key.set(typed.trim());
    close();
  }
  return html`
    <${Dialog} title="API key" open=${why !== null} onClose=${close}>
      <p>${WHY[why] || WHY.asked} ${" "}<code>holdfast keys create --scope classify --scope attack</code> makes one.</p>
      <form onSubmit=${save}>
        <label for="api-key">Key</label>
        <input id="api-key" type="password" autocomplete="off" spellcheck="false" value=${typed} onInput=${(event) => setTyped(event.currentTarget.value)} placeholder=${current ? "a key is set" : "hf_…"} />
        <p class="help">It is kept until this tab is closed, and sent to this server only.</p>
        <div class="row">
          <button type="submit" class="primary">Use it</button>
          ${current && html`<button type="button" onClick=${() => { key.set(""); close(); }}>Forget it</button>`}
        </div>
      </form>
    <//>
  `;
}
