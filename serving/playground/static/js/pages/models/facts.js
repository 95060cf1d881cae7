/** What a model takes, how it judges images, and how it was made. */
import { html } from "../../dom.js";
import { budget, count, duration, number, percent, when } from "../../format.js";
import { Section } from "./section.js";

export const Facts = ({ model }) => html`
  <div class="columns sections">
    <${Section} id="input" title="What it takes and answers"><${Input} model=${model} /><//>
    <${Section} id="made" title="How it was made"><${Made} model=${model} /><//>
  </div>
`;

const List = ({ entries }) => html`
  <dl class="fact-list">
    ${entries.filter(([, value]) => value).map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}
  </dl>
`;

function Input({ model }) {
  const { input, calibration, manifold, imt } = model;
  const entries = [
    ["Images", `${input.width}×${input.height}, ${input.channels === 1 ? "grey" : "RGB"}; others are scaled until they cover this, and cut`],
    ["Classes", model.classes.join(", ")],
    [
      "Probabilities",
      calibration
        ? `softmax of the logits over ${number(calibration.temperature)}, which takes the expected calibration error from ${percent(calibration.error_before)} to ${percent(calibration.error_after)} (${count(calibration.test_images, "image")} that it was not fitted on)`
        : "softmax of the logits, not calibrated",
    ],
    ["IMT moves", imt && `each value by ${budget(imt.epsilon)}; IMT+ by half of that where the score is within ${imt.halved.join(" and ")}`],
    ["Evidence", !manifold && "none: it does not say whether an image is natural"],
  ];
  return html`<${List} entries=${entries} />${manifold && html`<${Thresholds} manifold=${manifold} />`}`;
}

/** The scores from natural to suspect, with the thresholds and what natural images alone are beyond. */
function Thresholds({ manifold }) {
  const discriminator = manifold.evidence === "discriminator";
  const place = (score) => (discriminator ? score : (1 - score) / 2);
  const [uncertain, suspect] = [place(manifold.uncertain), place(manifold.suspect)];
  const zone = (name, from, to) => html`<span class="zone ${name}" style=${{ left: `${100 * from}%`, width: `${100 * Math.max(0, to - from)}%` }}></span>`;
  const beyond = discriminator ? "Above" : "Below";
  const [rare, rarer] = manifold.false_positive_rates;
  return html`
    <div class="thresholds">
      <h3>Manifold</h3>
      <p class="help">${discriminator ? "The discriminator's probability that an image is adversarial, from 0 to 1." : "The cosine between the image's features and its class's centre, from 1 to −1."}</p>
      <div class="scale" aria-hidden="true">${zone("natural", 0, uncertain)}${zone("uncertain", uncertain, suspect)}${zone("suspect", suspect, 1)}</div>
      <${List}
        entries=${[
          ["Uncertain", `${beyond.toLowerCase()} ${number(manifold.uncertain)}, as ${percent(rare, 0)} of natural images are`],
          ["Suspect", `${beyond.toLowerCase()} ${number(manifold.suspect)}, as ${percent(rarer, 0)} of natural images are`],
        ]}
      />
      <p class="help">Chosen on ${count(manifold.images, "held-out image")}. An adversary who knows the thresholds can stay within them.</p>
    </div>
  `;
}

function Made({ model }) {
  const { dataset, training, imported, architecture, precision, parity } = model;
  const entries = [
    ["Method", imported ? `not known: it was imported from ${imported.factory}` : model.method],
    ["Network", `${architecture.name}${model.head === "cosine" ? " with a cosine head" : ""}, ${architecture.parameters.toLocaleString("en")} parameters`],
    ["Data", dataset.train_images === null ? dataset.name : `${dataset.name}, ${count(dataset.train_images, "training image")}. ${dataset.note}`],
    ["Run", training && `${count(training.epochs, "epoch")}, ${count(training.steps, "step")}, seed ${training.seed}`],
    ["Took", training && `${duration(Math.round(training.seconds))} on ${training.hardware}`],
    [
      "Weights",
      precision
        ? `${percent(precision.share)} stored as ${precision.weights}, computed in float32; ${percent(precision.changed, 2)} of ${count(precision.images, "image")} are given another class than as trained`
        : `float32, as ${imported ? "imported" : "trained"}`,
    ],
    ["Not said", imported && imported.unstated.join(", ")],
    ["Graphs", `held against torch on ${count(parity.images, "image")}: logits differ by ${parity.logits.toExponential(1)} at most`],
    ["Exported", when(model.created)],
    ["Digest", html`<code class="digest">${model.digest}</code>`],
  ];
  return html`<${List} entries=${entries} />`;
}
