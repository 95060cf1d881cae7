/** The model card, as its bundle has it. */
import { Icon } from "../../components/icon.js";
import { html, useState } from "../../dom.js";
import { download } from "../../images.js";
import { Markdown } from "../../markdown.js";

export function Card({ model }) {
  // It is long, and drawn when somebody wants it.
  const [open, setOpen] = useState(false);
  const save = () => download(new Blob([model.card], { type: "text/markdown" }), `${model.name}-${model.version}-CARD.md`);
  return html`
    <details class="model-card" onToggle=${(event) => setOpen(event.currentTarget.open)}>
      <summary>Read the card</summary>
      ${open && html`<article class="prose"><${Markdown} text=${model.card} level=${3} /></article>`}
    </details>
    <div class="row"><button type="button" onClick=${save}><${Icon} name="save" />Save the card</button></div>
  `;
}
