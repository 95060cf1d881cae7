/** Every attack of one evaluation beside the others, all defences in one plot; curves where there are any. */
import { Chart } from "../../components/chart.js";
import { html, useState } from "../../dom.js";
import { count, percent, when } from "../../format.js";
import { defenceName } from "../../models.js";
import { between, interval } from "./claim.js";
import { WORST, isRobust, nameOf, newestFirst, within } from "./figures.js";
import { plots, toneOf } from "./series.js";

export function Robustness({ model }) {
  const evaluations = newestFirst(model).filter((each) => each.figures.some(isRobust));
  const [chosen, setChosen] = useState(0);
  const evaluation = evaluations[chosen];
  const drawn = plots(model);
  if (!evaluation) return html`<p class="help">No attack was measured yet.</p>`;
  return html`
    ${evaluations.length > 1 && html`
      <div class="field">
        <label for="evaluation">Measured</label>
        <select id="evaluation" value=${chosen} onChange=${(event) => setChosen(Number(event.currentTarget.value))}>
          ${evaluations.map((each, i) => html`<option value=${i}>${when(each.date)}, ${each.dataset}</option>`)}
        </select>
      </div>
    `}
    <${Dots} figures=${shownOf(evaluation, model)} defences=${model.defences} />
    ${drawn.length > 0 && html`
      <div class="columns plots">${drawn.map((plot) => html`<${Chart} key=${plot.title} ...${plot} yLabel="" shares />`)}</div>
    `}
  `;
}

/**
 * A row for each attack, in it a dot and its interval for each defence, and the same as numbers.
 *
 * On a phone its rows are laid out as grids, and then only roles that are written out say that it is a table.
 */
function Dots({ figures, defences }) {
  const shown = defences.filter((defence) => figures.some((each) => each.defence === defence));
  const names = [...new Set(figures.map((each) => each.name))].sort((a, b) => place(a) - place(b));
  const find = (name, defence) => figures.find((each) => each.name === name && each.defence === defence);
  const images = [...new Set(figures.map((each) => each.images))];
  return html`
    <table class="dots" role="table" style=${{ "--shown": shown.length }}>
      <caption class="help">
        Share of ${images.length === 1 ? count(images[0], "test image") : "test images"} that is classified right, with 95 % intervals.
        ${" "}${shown.length > 1 && "Each attack goes through the defence that it is judged behind, unless it says otherwise."}
      </caption>
      <thead role="rowgroup">
        <tr role="row">
          <th scope="col" role="columnheader">Attack</th>
          <td class="axis" aria-hidden="true"><span>0</span><span>50</span><span>100 %</span></td>
          ${shown.map((defence) => html`<th scope="col" role="columnheader" class=${`number line ${toneOf(defence)}`}><span class="point"></span>${shown.length > 1 ? defenceName(defence) : "Accuracy"}</th>`)}
        </tr>
      </thead>
      <tbody role="rowgroup">
        ${names.map((name) => html`
          <tr role="row" key=${name} class=${name === WORST ? "worst" : undefined}>
            <th scope="row" role="rowheader"><${Line} name=${name} /></th>
            <td class="plot" aria-hidden="true">
              <span class="lanes">
                ${shown.map((defence) => html`<${Lane} figure=${find(name, defence)} defence=${defence} />`)}
              </span>
            </td>
            ${shown.map((defence) => html`<${Amount} figure=${find(name, defence)} />`)}
          </tr>
        `)}
      </tbody>
    </table>
  `;
}

/** Figures that compare: clean ones, and those within the model's own budget or, without any, within others. */
function shownOf({ figures }, model) {
  const clean = figures.filter((each) => each.attack === null);
  const attacked = figures.filter(isRobust);
  const own = attacked.filter(within(model.threat_model));
  return [...clean, ...(own.length ? own : attacked)];
}

const place = (name) => (name === "clean" ? -1 : name === WORST ? 1 : 0);

function Line({ name }) {
  const { base, particular } = nameOf(name);
  return html`${base === "clean" ? "none: clean" : base}${particular && html` <small>${particular}</small>`}`;
}

const Lane = ({ figure, defence }) => html`
  <span class=${`lane line ${toneOf(defence)}`}>
    ${figure && html`
      <span class="span" style=${between(figure.interval)}></span>
      <span class=${figure.adaptive ? "point" : "point hollow"} style=${{ left: `${100 * figure.accuracy}%` }}></span>
    `}
  </span>
`;

const Amount = ({ figure }) =>
  figure
    ? html`<td class="number" role="cell">${percent(figure.accuracy)}<small>${interval(figure.interval)}</small></td>`
    : html`<td class="number" role="cell"><span aria-label="not measured">–</span></td>`;
