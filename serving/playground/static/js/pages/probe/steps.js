/** The way of an attack, step by step. */
import { Bars } from "../../components/bars.js";
import { Chart } from "../../components/chart.js";
import { Icon } from "../../components/icon.js";
import { Picture } from "../../components/picture.js";
import { html, useEffect, useState } from "../../dom.js";
import { budget, number, percent } from "../../format.js";
import { dataUrl } from "../../images.js";

const A_STEP = 250;

export function Steps({ answer, model }) {
  const { steps, every, queries } = answer.trace;
  const [at, setAt] = useState(steps.length - 1);
  const [playing, setPlaying] = useState(false);
  useEffect(() => {
    setAt(steps.length - 1);
    setPlaying(false);
  }, [answer]);
  useEffect(() => {
    if (!playing) return undefined;
    const timer = setInterval(
      () =>
        setAt((before) => {
          if (before < steps.length - 1) return before + 1;
          setPlaying(false);
          return before;
        }),
      A_STEP,
    );
    return () => clearInterval(timer);
  }, [playing]);
  function play() {
    if (!playing && at === steps.length - 1) setAt(0);
    setPlaying(!playing);
  }
  const step = steps[Math.min(at, steps.length - 1)];
  const line = (name, tone, value, dashed) => ({ name, tone, dashed, points: steps.map((each) => [each.query, value(each)]) });
  return html`
    <div class="steps">
      <h3>Step by step</h3>
      <div class="row">
        <button type="button" onClick=${play}><${Icon} name=${playing ? "pause" : "play"} />${playing ? "Pause" : "Play"}</button>
        <input type="range" min="0" max=${steps.length - 1} value=${at} aria-label="Step of the attack" aria-valuetext="Image ${step.query + 1} of ${queries}: ${step.label}"
          onInput=${(event) => { setPlaying(false); setAt(Number(event.currentTarget.value)); }} />
        <span class="value">${step.query + 1} of ${queries.toLocaleString("en")}</span>
      </div>
      ${every > 1 && html`<p class="help">Every ${every}th image that the attack tried is here.</p>`}
      <div class="step">
        <${Picture} src=${dataUrl(step.png)} alt="The image at this step" caption=${`L∞ ${budget(step.linf)}, L2 ${number(step.l2)}`} />
        <div>
          <p class="headline"><strong>${step.label}</strong> <span class="value">${percent(step.probability)}</span></p>
          <${Bars} rows=${rows(step, answer, model)} marked=${answer.label} caption="Probabilities at this step" />
        </div>
        <${Chart}
          title="Probability of ${answer.label} on the way"
          series=${[line(answer.label, "held", (each) => each.probability_of_label)]}
          xLabel="image shown to the model"
          yLabel=""
          shares
          at=${step.query}
          height=${180}
        />
      </div>
    </div>
  `;
}

/** The classes that matter in the whole way, always in the same order, so that one sees the bars move. */
function rows(step, answer, model) {
  if (!step.probabilities) {
    const found = [{ label: answer.label, before: step.probability_of_label }];
    if (step.label !== answer.label) found.push({ label: step.label, before: step.probability });
    return found;
  }
  const { before } = answer.predictions[answer.defence];
  const largest = (label, i) => Math.max(...answer.trace.steps.map((each) => each.probabilities[i]));
  return model.classes
    .map((label, i) => ({ label, before: step.probabilities[i], rank: largest(label, i), first: before.probabilities[label] }))
    .sort((a, b) => b.rank - a.rank)
    .slice(0, 5)
    .sort((a, b) => b.first - a.first);
}
