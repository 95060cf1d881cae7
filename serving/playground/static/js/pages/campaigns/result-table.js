/** The figures of a result, each run on a line. */
import { html } from "../../dom.js";
import { NORMS, budget, number, percent } from "../../format.js";
import { defenceName } from "../../models.js";

export const budgetName = (it) => (it ? `${NORMS[it.norm]} ${budget(it.epsilon, it.norm)}` : "nearest");

const modelName = ({ model, version }) => (version === "1" ? model : `${model}/${version}`);

export const sideName = (run) => (run.defence === "none" ? modelName(run) : `${modelName(run)} with ${defenceName(run.defence)}`);

export const runName = (run) => `${run.attack} on ${sideName(run)}`;

export function ResultTable({ result }) {
  const labelled = result.runs.some((run) => run.clean_accuracy);
  const distances = result.runs.some((run) => run.record.minimises);
  return html`
    <div class="scroll" tabindex="0" role="region" aria-labelledby="result">
      <table class="plain">
        <thead>
          <tr>
            <th>Model</th><th>Defence</th><th>Attack</th><th>Budget</th><th class="number">Images</th>
            ${labelled && html`<th>Clean accuracy</th><th>Robust accuracy</th>`}
            <th class="number">Success</th>
            ${distances && html`<th class="number">Median L∞</th><th class="number">Median L2</th>`}
          </tr>
        </thead>
        <tbody>
          ${result.runs.map((run) => html`
            <tr key=${runName(run)}>
              <td>${modelName(run)}</td>
              <td>${defenceName(run.defence)}</td>
              <td>${run.attack}</td>
              <td>${budgetName(run.record.budget)}</td>
              <td class="number">${run.images_done}</td>
              ${labelled && html`<td><${Share} share=${run.clean_accuracy} /></td><td><${Share} share=${run.robust_accuracy} tone="held" /></td>`}
              <td class="number">${run.record.totals.success_rate === null ? "–" : percent(run.record.totals.success_rate)}</td>
              ${distances && html`<td class="number">${distance(run.record.totals.median_linf, budget)}</td><td class="number">${distance(run.record.totals.median_l2, number)}</td>`}
            </tr>
          `)}
        </tbody>
      </table>
    </div>
    <p class="help">
      ${labelled ? "In brackets, and in the bars: 95 % Wilson intervals. " : "The labels are the models' own word, so there are no accuracies. "}
      Success: of the images that were right before, the share that the attack fooled.
    </p>
  `;
}

const distance = (value, text) => (value === null ? "–" : text(value));

/** An accuracy, its interval in numbers, and both in a bar. */
export function Share({ share, tone }) {
  if (!share) return "–";
  const [low, high] = share.interval;
  return html`
    <div class="share ${tone || ""}">
      <span><strong>${percent(share.value)}</strong> <small>[${percent(low)}, ${percent(high)}]</small></span>
      <span class="interval" aria-hidden="true">
        <span class="between" style=${{ left: `${100 * low}%`, width: `${100 * (high - low)}%` }}></span>
        <span class="mark" style=${{ left: `${100 * share.value}%` }}></span>
      </span>
    </div>
  `;
}

/** Attacks of one budget together. */
export function WorstCases({ cases }) {
  if (!cases.length) return null;
  return html`
    <section class="card" aria-labelledby="worst">
      <h2 id="worst">Attacks together</h2>
      <p class="help">An image counts as fooled if any of the attacks fooled it. Of several attacks, this is the figure to quote.</p>
      <div class="scroll" tabindex="0" role="region" aria-labelledby="worst">
        <table class="plain">
          <thead><tr><th>Model</th><th>Defence</th><th>Attacks</th><th>Budget</th><th>Robust accuracy</th><th class="number">Held</th><th class="number">Fooled</th><th class="number">Wrong before</th><th class="number">Success</th></tr></thead>
          <tbody>
            ${cases.map((each) => html`
              <tr key=${`${sideName(each)} ${budgetName(each.budget)} ${each.attacks}`}>
                <td>${modelName(each)}</td>
                <td>${defenceName(each.defence)}</td>
                <td>${each.attacks.join(", ")}</td>
                <td>${budgetName(each.budget)}</td>
                <td><${Share} share=${each.robust_accuracy} tone="held" /></td>
                <td class="number">${each.held}</td>
                <td class="number">${each.fooled}</td>
                <td class="number">${each.wrong_before}</td>
                <td class="number">${each.success_rate === null ? "–" : percent(each.success_rate)}</td>
              </tr>
            `)}
          </tbody>
        </table>
      </div>
    </section>
  `;
}
