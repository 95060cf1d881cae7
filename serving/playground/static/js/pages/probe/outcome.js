/** What came of an attack: the images, the predictions before and after, and how far to believe it. */
import { Bars, rowsOf } from "../../components/bars.js";
import { Copy } from "../../components/copy.js";
import { Gauge } from "../../components/gauge.js";
import { Icon } from "../../components/icon.js";
import { Empty, Loading } from "../../components/problem.js";
import { classes, html } from "../../dom.js";
import { NORMS, budget, latency, number, percent } from "../../format.js";
import { download, fromBase64 } from "../../images.js";
import { defenceName } from "../../models.js";
import { key } from "../../session.js";
import { curl, sdk } from "../../snippets.js";
import { Compare } from "./compare.js";
import { Images } from "./images.js";
import { Steps } from "./steps.js";

export function Outcome({ model, models, attack }) {
  const { answer, running, request, image } = attack;
  if (running) return html`<${Loading} what="The attack runs …" />`;
  if (!answer) return html`<${Empty} title="No attack yet">Attack the image, and see here what was changed and what that did.<//>`;
  const address = location.origin;
  const evidence = answer.predictions[answer.defence];
  const context = { image, address, secured: key.get() !== "" };
  return html`
    <${Headline} answer=${answer} />
    ${answer.flags.map((flag) => html`
      <div class="note doubt"><${Icon} name="warning" /><div><strong>Do not take this at its word</strong><p>${flag.meaning}</p></div></div>
    `)}
    <${Images} answer=${answer} image=${image} />
    <div>
      <h3>Before and after${model.defences.length > 1 && ", behind every defence"}</h3>
      <p class="help">The line in each bar is where it was before the attack; ● is the label.</p>
    </div>
    <div class="columns">
      ${model.defences.map((defence) => html`<${Change} key=${defence} ...${{ model, defence, answer }} />`)}
    </div>
    ${evidence.after_in_8_bits.manifold && model.manifold && html`<${Gauge} manifold=${model.manifold} evidence=${evidence.after_in_8_bits.manifold} before=${evidence.before.manifold} />`}
    ${answer.trace?.steps.length > 1 && html`<${Steps} answer=${answer} model=${model} />`}
    <${Compare} ...${{ models, model, attack }} />
    <${Facts} answer=${answer} />
    <div class="row">
      <button type="button" onClick=${() => download(fromBase64(answer.adversarial.base64), `${image.name.replace(/\.\w+$/, "")}-${answer.attack.name}.png`)}>
        <${Icon} name="save" />Save the adversarial PNG
      </button>
    </div>
    <${Copy} label="The same with curl" text=${curl(request, context)} />
    <${Copy} label="The same in Python" text=${sdk(request, context)} />
  `;
}

function Headline({ answer }) {
  const { before, after_in_8_bits: after } = answer.predictions[answer.defence];
  const tone = { fooled: "fooled", held: "held" }[answer.outcome] || "unsure";
  const aim = answer.target ? ` It was to say ${answer.target}.` : "";
  const text = {
    fooled: `The model says ${after.label} (${percent(after.probability)}) where it said ${before.label} (${percent(before.probability)}).${aim}`,
    held: `The model still says ${after.label} (${percent(after.probability)}, before ${percent(before.probability)}).${aim}`,
    "wrong before": answer.target
      ? `The model says ${before.label} of the image as it is: there is nothing to attack.`
      : `The model says ${before.label} where the image is labelled ${answer.label}, without any attack.`,
  }[answer.outcome];
  return html`
    <div class=${classes("verdict-box", tone)} role="status">
      <${Icon} name=${{ fooled: "fooled", held: "held" }[answer.outcome] || "warning"} />
      <div>
        <strong>${{ fooled: "Fooled", held: "Held", "wrong before": "Wrong before the attack" }[answer.outcome]}</strong>
        <p>${text}</p>
        ${answer.success && !answer.survives_rounding && html`<p>Only the exact result does that: in 8 bits, as a PNG, it is lost.</p>`}
      </div>
    </div>
  `;
}

function Change({ model, defence, answer }) {
  const { before, after_in_8_bits: after, fooled } = answer.predictions[defence];
  const attacked = defence === answer.defence;
  const already = !answer.target && before.label !== answer.label;
  return html`
    <article class="answer">
      <h3>${defenceName(defence)} ${attacked && model.defences.length > 1 && html`<small>attacked through</small>`}</h3>
      <p class="headline">
        ${before.label} <span class="value">${percent(before.probability)}</span> → <strong>${after.label}</strong> <span class="value">${percent(after.probability)}</span>
        <span class=${classes("tag", already ? "unsure" : fooled ? "fooled" : "held")}>${already ? "wrong before" : fooled ? "fooled" : "held"}</span>
      </p>
      <${Bars} rows=${rowsOf(before, after)} marked=${answer.label} caption="Probabilities with ${defenceName(defence)}, before and after" />
    </article>
  `;
}

function Facts({ answer }) {
  const { attack, reached_in_8_bits: reached, counts, timings } = answer;
  return html`
    <dl class="facts">
      <div><dt>Budget</dt><dd>${attack.budget ? `${NORMS[attack.budget.norm]} ${budget(attack.budget.epsilon, attack.budget.norm)}` : "none: the nearest image"}</dd></div>
      <div><dt>L∞ reached</dt><dd>${budget(reached.linf)}</dd></div>
      <div><dt>L2 reached</dt><dd>${number(reached.l2)}</dd></div>
      <div><dt>Images shown to the model</dt><dd>${counts.queries.toLocaleString("en")}</dd></div>
      <div><dt>Passes</dt><dd>${counts.forwards.toLocaleString("en")} forward, ${counts.backwards.toLocaleString("en")} back</dd></div>
      <div><dt>Took</dt><dd>${latency(timings.attack_ms)}</dd></div>
    </dl>
  `;
}
