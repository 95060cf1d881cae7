/** How natural the model finds an image: its score between the thresholds, and the verdict. */
import { classes, html } from "../dom.js";
import { number, percent } from "../format.js";

const MEANING = {
  natural: "It looks like the images that the model knows.",
  uncertain: "It is stranger than most images that the model knows.",
  suspect: "It looks like an adversarial image.",
};

/**
 * @param {object} props
 * @param {Record<string, any>} props.manifold the model's thresholds
 * @param {{score: number, verdict: string}} props.evidence the prediction's
 * @param {{score: number}} [props.before] the same, before an attack
 */
export function Gauge({ manifold, evidence, before }) {
  const discriminator = manifold.evidence === "discriminator";
  // A probability from 0 to 1; a cosine from −1 to 1, which is suspicious where it is low and so drawn mirrored.
  const place = (score) => (discriminator ? score : (1 - score) / 2);
  const [uncertain, suspect] = [place(manifold.uncertain), place(manifold.suspect)];
  const zone = (name, from, to) => html`
    <span class="zone ${name}" style=${{ left: `${100 * from}%`, width: `${100 * Math.max(0, to - from)}%` }}></span>
  `;
  const [rare, rarer] = manifold.false_positive_rates;
  return html`
    <div class="gauge">
      <div class="row">
        <span>Manifold</span>
        <strong class=${classes("verdict", evidence.verdict)}>${evidence.verdict}</strong>
        <span class="value">${number(evidence.score)}</span>
      </div>
      <div class="scale" aria-hidden="true">
        ${zone("natural", 0, uncertain)}${zone("uncertain", uncertain, suspect)}${zone("suspect", suspect, 1)}
        ${before && html`<span class="needle was" style=${{ left: `${100 * place(before.score)}%` }}></span>`}
        <span class="needle" style=${{ left: `${100 * place(evidence.score)}%` }}></span>
      </div>
      <p class="help">
        ${discriminator ? "The discriminator's probability that this is adversarial." : "The cosine to the class's centre."}
        ${" "}${MEANING[evidence.verdict]} Of natural images, ${percent(rare, 0)} are uncertain or worse, ${percent(rarer, 0)} suspect.
      </p>
    </div>
  `;
}
