/** A model's claims behind each of its defences, and beside them every reason to doubt them. */
import { Icon } from "../../components/icon.js";
import { html } from "../../dom.js";
import { NORMS, budget, percent, when } from "../../format.js";
import { DEFENCES, defenceName, useAttacks } from "../../models.js";
import { ClaimBar, sure, underWhat } from "./claim.js";
import { claims, doubts, hasBlackBox, newestFirst } from "./figures.js";

export function Claims({ model }) {
  const { norm, epsilon } = model.threat_model;
  const all = claims(model);
  return html`
    <p class="help">
      Against an adversary who has the model and moves an image by at most ${NORMS[norm]} ${budget(epsilon, norm)}. Accuracies are of
      test images; those under attack are upper bounds.
    </p>
    <div class="claims">
      <div class="columns">${all.map((claim) => html`<${Claim} key=${claim.defence} claim=${claim} all=${all} model=${model} />`)}</div>
      <${Doubts} model=${model} all=${all} />
    </div>
  `;
}

function Claim({ claim, all, model }) {
  const { defence, clean, worst, unaware } = claim;
  return html`
    <article class="claim">
      <h3>${defenceName(defence)} ${defence === model.defences[0] && all.length > 1 && html`<span class="tag held">default</span>`}</h3>
      <p class="help">${DEFENCES[defence]?.says}</p>
      <${ClaimBar} clean=${clean} worst=${worst} />
      <dl>
        <div><dt>On images as they are</dt>${clean ? html`<${Amount} figure=${clean} />` : html`<dd>not measured</dd>`}</div>
        ${unaware && html`
          <div class="unaware">
            <dt>Under ${unaware.name.split(",")[0]} that does not know it</dt>
            <${Amount} figure=${unaware} />
          </div>
        `}
        <div class="robust">
          <dt>${worst ? `${underWhat(worst)[0].toUpperCase()}${underWhat(worst).slice(1)}` : "Under attack"}</dt>
          ${worst ? html`<${Amount} figure=${worst} />` : html`<dd>not measured</dd>`}
        </div>
      </dl>
    </article>
  `;
}

const Amount = ({ figure }) => html`<dd><strong>${percent(figure.accuracy)}</strong><small>${sure(figure)}</small></dd>`;

function Doubts({ model, all }) {
  const attacks = useAttacks();
  const found = doubts(model);
  const newest = newestFirst(model)[0];
  const worse = cost(all);
  const gaps = missing(model, all, attacks.data?.attacks);
  return html`
    <div class="doubts">
      ${found.length > 0 && html`
        <div class="note doubt">
          <${Icon} name="warning" />
          <div>
            <strong>Do not rely on the robust figures</strong>
            ${found.map(({ doubt, evaluation }) => html`<p>${doubt}${evaluation !== newest && html` <small>(measured ${when(evaluation.date)})</small>`}</p>`)}
          </div>
        </div>
      `}
      ${worse && html`<div class="note bad"><${Icon} name="fooled" /><div><p>${worse}</p></div></div>`}
      ${gaps.map((text) => html`<div class="note gap"><${Icon} name="warning" /><div><p>${text}</p></div></div>`)}
      ${!found.length && !gaps.length && html`<p class="help">No attack raised a doubt. A stronger one could still lower the figures.</p>`}
    </div>
  `;
}

/** What a defence costs whom switches it on, where it does. */
function cost([plain, ...defended]) {
  const worse = defended.filter(({ worst }) => worst && plain.worst && worst.accuracy < plain.worst.accuracy);
  if (!worse.length) return "";
  const each = worse.map(({ defence, worst }) => `${percent(worst.accuracy)} with ${defenceName(defence)}`);
  return `Less holds with a defence than without: under the worst case ${each.join(", ")}, and ${percent(plain.worst.accuracy)} with none.`;
}

/** What was not looked at, and would have to be. */
function missing(model, all, attacks) {
  if (!model.evaluations.length) return [`Nothing was measured yet: its accuracy and its robustness are unknown. “holdfast evaluate ${model.name}/${model.version}” measures them.`];
  const robust = all.some((claim) => claim.worst);
  const found = [];
  if (!robust) found.push("No attack was measured: its robustness is unknown.");
  else if (attacks && !hasBlackBox(model, attacks)) found.push("No attack without gradients was measured. Where gradients are masked, only such an attack shows it.");
  for (const { defence, worst } of all) {
    if (robust && !worst) found.push(`No attack was measured behind ${defenceName(defence)}.`);
    else if (worst && !worst.adaptive) found.push(`Behind ${defenceName(defence)}, only attacks that do not know it were measured.`);
  }
  return found;
}
