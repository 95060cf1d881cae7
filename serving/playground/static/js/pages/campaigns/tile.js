/** One image of a run: as it was; pointed at, as it was attacked. */
import { Icon } from "../../components/icon.js";
import { classes, html, useState } from "../../dom.js";
import { dataUrl } from "../../images.js";

/** The words beside it say what it is; there is none where the model is not served any more. */
const Shown = ({ png }) => (png ? html`<img src=${dataUrl(png)} alt="" />` : html`<span class="no-picture"><${Icon} name="image" /></span>`);

export const TONES = { fooled: "fooled", held: "held" };

export function Tile({ image, beside, onOpen }) {
  const [peeking, setPeeking] = useState(false);
  const { original, adversarial, label, before, after, outcome } = image;
  const attacked = peeking && adversarial;
  const peek = (on) => () => setPeeking(on);
  const changed = after && after.label !== before.label;
  const words = `${image.image}, ${label}: ${outcome}. ${before.label}${changed ? `, then ${after.label}` : ""}`;
  return html`
    <button type="button" class=${classes("tile", TONES[outcome] || "unsure", beside && adversarial && "beside")} aria-label=${words}
      onClick=${() => onOpen(image)} onPointerEnter=${peek(true)} onPointerLeave=${peek(false)} onFocus=${peek(true)} onBlur=${peek(false)}>
      <span class="pair">
        ${beside
          ? html`<${Shown} png=${original} />${adversarial && html`<${Shown} png=${adversarial} />`}`
          : html`<${Shown} png=${attacked ? adversarial : original} />${attacked && html`<span class="badge">attacked</span>`}`}
      </span>
      <span class="said"><span>${before.label}</span>${changed && html`<strong>→ ${after.label}</strong>`}</span>
      ${before.label !== label && html`<span class="said help">is ${label}</span>`}
    </button>
  `;
}
