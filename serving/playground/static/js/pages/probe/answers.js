/** What the model says of the image as it is, behind each of its defences. */
import { at, json } from "../../api.js";
import { Bars, rowsOf } from "../../components/bars.js";
import { Gauge } from "../../components/gauge.js";
import { Empty, Loading, ProblemNote } from "../../components/problem.js";
import { html } from "../../dom.js";
import { latency, percent } from "../../format.js";
import { DEFENCES, defenceName } from "../../models.js";
import { key } from "../../session.js";
import { useAtom, useLoaded } from "../../store.js";

export function Answers({ model, image }) {
  const secret = useAtom(key);
  const found = useLoaded((signal) => (image ? classify(model, image, signal) : Promise.resolve(undefined)), [
    model.digest,
    image,
    secret,
  ]);
  if (!image) return html`<${Empty} title="No image yet">Choose one, and the model's answer stands here.<//>`;
  if (found.error) return html`<${ProblemNote} problem=${found.error} retry=${found.reload} />`;
  if (!found.data) return html`<${Loading} what="Classifying …" />`;
  // The evidence is of the image as it came, and so the same behind every defence.
  const evidence = Object.values(found.data)[0]?.predictions[0].manifold;
  return html`
    <div class="columns" aria-live="polite">
      ${model.defences.map((defence) => html`<${Answer} key=${defence} ...${{ defence, model, image }} answer=${found.data[defence]} />`)}
    </div>
    ${evidence && model.manifold && html`<${Gauge} manifold=${model.manifold} evidence=${evidence} />`}
  `;
}

function Answer({ defence, model, image, answer }) {
  if (!answer) return null;
  const [prediction] = answer.predictions;
  const right = !image.label || image.label === prediction.label;
  return html`
    <article class="answer">
      ${model.defences.length > 1 && html`<h3 title=${DEFENCES[defence]?.says}>${defenceName(defence)}</h3>`}
      <p class="headline"><strong>${prediction.label}</strong> <span class="value">${percent(prediction.probability)}</span></p>
      ${!right && html`<p class="complaint">Wrong: it is labelled ${image.label}.</p>`}
      <${Bars} rows=${rowsOf(prediction)} marked=${image.label} caption="Probabilities with ${defenceName(defence)}" />
      <p class="help">Answered in ${latency(answer.timings.total_ms)}.</p>
    </article>
  `;
}

async function classify(model, image, signal) {
  const ask = (defence) =>
    json(`${at("v1", "models", model.name, "versions", model.version, "classify")}?${new URLSearchParams({ defence, top_k: "10" })}`, {
      method: "POST",
      body: image.blob,
      headers: { "Content-Type": image.blob.type || "application/octet-stream" },
      signal,
    });
  const answers = await Promise.all(model.defences.map(ask));
  return Object.fromEntries(model.defences.map((defence, i) => [defence, answers[i]]));
}
