/** The figures of a result: each model behind each defence, and under it each attack. */
import { html } from "../../dom.js";
import { budget, number, percent } from "../../format.js";
import { defenceName } from "../../models.js";
import { attackName, budgetName, modelName, sideName } from "./names.js";

export function ResultTable({ result }) {
  const labelled = result.runs.some((run) => run.clean_accuracy);
  const robust = result.runs.some((run) => run.robust_accuracy);
  const distances = result.runs.some((run) => run.record.minimises);
  return html`
    <div class="scroll" tabindex="0" role="region" aria-label="Each run">
      <table class="plain grouped">
        <thead>
          <tr>
            <th>Attack</th><th>Budget</th>${!result.complete && html`<th class="number">Images</th>`}
            ${robust && html`<th class="wider">Robust accuracy</th>`}
            <th class="number">Fooled</th><th class="number">Held</th><th class="number">Success</th>
            ${distances && html`<th class="number">Median L∞</th><th class="number">Median L2</th>`}
          </tr>
        </thead>
        ${sidesOf(result.runs).map((runs) => html`
          <tbody key=${sideName(runs[0])}>
            <${Side} run=${runs[0]} columns=${5 + Number(!result.complete) + Number(robust) + 2 * Number(distances)} />
            ${runs.map((run) => html`<${Row} key=${run.attack} run=${run} robust=${robust} distances=${distances} complete=${result.complete} />`)}
          </tbody>
        `)}
      </table>
    </div>
    <p class="help">
      ${labelled ? "In brackets, and in the bars: 95 % Wilson intervals. " : "The labels are the models' own word, so there are no accuracies. "}
      Success: of the images that were right before, the share that the attack fooled.
    </p>
  `;
}

const Side = ({ run, columns }) => html`
  <tr class="side">
    <th scope="rowgroup" colspan=${columns}>
      <strong>${modelName(run)}</strong> ${defenceName(run.defence)}
      ${run.clean_accuracy && html`<span class="clean">clean accuracy <strong>${percent(run.clean_accuracy.value)}</strong> ${bracket(run.clean_accuracy)}</span>`}
    </th>
  </tr>
`;

function Row({ run, robust, distances, complete }) {
  const { totals, budget: within } = run.record;
  return html`
    <tr>
      <td>${attackName(run.attack, within)}</td>
      <td>${budgetName(within)}</td>
      ${!complete && html`<td class="number">${run.images_done}</td>`}
      ${robust && html`<td><${Share} share=${run.robust_accuracy} /></td>`}
      <td class="number">${totals.fooled}</td>
      <td class="number">${totals.held}</td>
      <td class="number">${totals.success_rate === null ? "–" : percent(totals.success_rate)}</td>
      ${distances && html`<td class="number">${distance(totals.median_linf, budget)}</td><td class="number">${distance(totals.median_l2, number)}</td>`}
    </tr>
  `;
}

function sidesOf(runs) {
  const found = new Map();
  for (const run of runs) found.set(sideName(run), [...(found.get(sideName(run)) || []), run]);
  return [...found.values()];
}

const distance = (value, text) => (value === null ? "–" : text(value));

const bracket = ({ interval: [low, high] }) => html`<small>[${percent(low)}, ${percent(high)}]</small>`;

/** An accuracy, its interval in numbers, and both in a bar. */
export function Share({ share }) {
  if (!share) return "–";
  const [low, high] = share.interval;
  return html`
    <div class="accuracy">
      <span><strong>${percent(share.value)}</strong> ${bracket(share)}</span>
      <span class="interval" aria-hidden="true">
        <span class="between" style=${{ left: `${100 * low}%`, width: `${100 * (high - low)}%` }}></span>
        <span class="mark" style=${{ left: `${100 * share.value}%` }}></span>
      </span>
    </div>
  `;
}
