/** All evaluations, figure by figure, with the commands that measure them again. */
import { Copy } from "../../components/copy.js";
import { html } from "../../dom.js";
import { NORMS, budget, number, percent, when } from "../../format.js";
import { defenceName } from "../../models.js";
import { interval } from "./claim.js";
import { newestFirst } from "./figures.js";

export function Measured({ model }) {
  if (!model.evaluations.length) return html`<p class="help">Nothing yet.</p>`;
  return html`${newestFirst(model).map((evaluation, i) => html`<${Evaluation} key=${evaluation.date} evaluation=${evaluation} id=${i} />`)}`;
}

function Evaluation({ evaluation, id }) {
  const { figures, dataset, date, seed, command, unreliable } = evaluation;
  const distances = figures.some((each) => each.distance !== undefined && each.distance !== null);
  return html`
    <details class="evaluation">
      <summary id="evaluation-${id}">${when(date)}: ${dataset}, seed ${seed} <small>${figures.length} figures${unreliable && ", doubted"}</small></summary>
      ${unreliable && html`<p class="help">Doubted: ${unreliable}.</p>`}
      <div class="scroll" tabindex="0" role="region" aria-labelledby="evaluation-${id}">
        <table class="plain">
          <thead>
            <tr><th>Measured</th><th>Behind</th><th>Budget</th><th class="number">Right</th><th class="number">95 % interval</th><th class="number">Images</th><th class="number">Passes</th>${distances && html`<th class="number">Mean norm</th>`}<th>With</th></tr>
          </thead>
          <tbody>
            ${figures.map((figure) => html`
              <tr key=${`${figure.name} ${figure.defence}`}>
                <td>${figure.name}</td>
                <td>${defenceName(figure.defence)}${!figure.adaptive && html` <small>unknown to the attack</small>`}</td>
                <td>${figure.threat_model ? `${NORMS[figure.threat_model.norm]} ${budget(figure.threat_model.epsilon, figure.threat_model.norm)}` : "none"}</td>
                <td class="number">${percent(figure.accuracy)}</td>
                <td class="number">${interval(figure.interval)}</td>
                <td class="number">${figure.images.toLocaleString("en")}</td>
                <td class="number">${figure.passes ? `${number(figure.passes[0])} + ${number(figure.passes[1])}` : ""}</td>
                ${distances && html`<td class="number">${figure.distance ? number(figure.distance) : ""}</td>`}
                <td><small>${parameters(figure) || (figure.attack?.includes(" + ") ? figure.attack : "")}</small></td>
              </tr>
            `)}
          </tbody>
        </table>
      </div>
      <p class="help">Passes are forward + backward for an image, on average.</p>
      <${Copy} label="Measure it again" text=${command} />
    </details>
  `;
}

/** What is not in a column of its own. */
function parameters({ parameters: all }) {
  return Object.entries(all)
    .filter(([name]) => name !== "norm" && name !== "epsilon")
    .map(([name, value]) => `${name.replaceAll("_", " ")} ${name === "step_size" && value ? budget(value) : typeof value === "object" ? JSON.stringify(value) : value}`)
    .join(", ");
}
