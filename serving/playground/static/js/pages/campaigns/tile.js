/** One image of a run: as it was; pointed at, as it was attacked. */
import { classes, html, useState } from "../../dom.js";
import { dataUrl } from "../../images.js";

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
          ? html`<img src=${dataUrl(original)} alt="" />${adversarial && html`<img src=${dataUrl(adversarial)} alt="" />`}`
          : html`<img src=${dataUrl(attacked ? adversarial : original)} alt="" />${attacked && html`<span class="badge">attacked</span>`}`}
      </span>
      <span class="said"><span>${before.label}</span>${changed && html`<strong>→ ${after.label}</strong>`}</span>
      ${before.label !== label && html`<span class="said help">is ${label}</span>`}
    </button>
  `;
}
