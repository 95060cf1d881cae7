/** Lines over an axis, as SVG, with the numbers as a table for whoever does not see them. */
import { classes, html, useId } from "../dom.js";
import { number, percent } from "../format.js";
import { useWidth } from "./use-width.js";

const BOX = { left: 44, right: 12, top: 12, bottom: 34 };

/**
 * @param {object} props
 * @param {string} props.title what it shows
 * @param {{name: string, tone?: string, dashed?: boolean, points: [number, number][], band?: [number, number, number][]}[]} props.series
 *   a tone is a colour's name in the style sheet; a band is (x, low, high)
 * @param {string} props.xLabel @param {string} props.yLabel
 * @param {boolean} [props.shares] y is a share, from 0 to 1
 * @param {(x: number) => string} [props.xText]
 * @param {(y: number) => string} [props.yText]
 * @param {number} [props.at] a place on the x axis to mark
 * @param {[number, number]} [props.xRange] the x axis's ends, if not those of the points
 * @param {number} [props.width] as wide as there is room, if not said @param {number} [props.height]
 */
export function Chart({ title, series, xLabel, yLabel, shares = false, xText = number, yText, at, xRange, width: fixed, height = 220 }) {
  const id = useId();
  const [box, room] = useWidth(460);
  const width = fixed || room;
  const all = series.flatMap((line) => line.points);
  if (!all.length) return html`<p class="help">${title}: nothing to draw yet.</p>`;
  const text = yText || (shares ? (y) => percent(y, 0) : number);
  const xs = all.map(([x]) => x);
  const ys = all.map(([, y]) => y).concat(series.flatMap((line) => (line.band || []).flatMap(([, low, high]) => [low, high])));
  const [x0, x1] = xRange || span(Math.min(...xs), Math.max(...xs));
  const [y0, y1] = shares ? [0, 1] : span(Math.min(0, ...ys), Math.max(...ys));
  const px = (x) => BOX.left + ((x - x0) / (x1 - x0)) * (width - BOX.left - BOX.right);
  const py = (y) => height - BOX.bottom - ((y - y0) / (y1 - y0)) * (height - BOX.top - BOX.bottom);
  const path = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${px(x).toFixed(1)} ${py(y).toFixed(1)}`).join("");
  const around = (band) => `${path(band.map(([x, , high]) => [x, high]))}${path([...band].reverse().map(([x, low]) => [x, low])).replace("M", "L")}Z`;
  const xTicks = ticks(x0, x1, Math.max(2, Math.min(series.length === 1 ? 5 : 6, Math.floor(width / 85))), xRange ? [] : [...new Set(xs)]);
  return html`
    <figure class="chart" ref=${box}>
      <figcaption>${title}</figcaption>
      <svg viewBox="0 0 ${width} ${height}" role="img" aria-labelledby="${id}-t" aria-describedby="${id}-d">
        <title id="${id}-t">${title}</title>
        ${ticks(y0, y1, 4).map((y) => html`
          <line class="grid" x1=${BOX.left} x2=${width - BOX.right} y1=${py(y)} y2=${py(y)} />
          <text class="tick" x=${BOX.left - 6} y=${py(y) + 4} text-anchor="end">${text(y)}</text>
        `)}
        ${xTicks.map((x) => html`<text class="tick" x=${px(x)} y=${height - BOX.bottom + 16} text-anchor="middle">${xText(x)}</text>`)}
        <text class="axis" x=${width - BOX.right} y=${height - 4} text-anchor="end">${xLabel}</text>
        <text class="axis" x="2" y=${BOX.top - 2}>${yLabel}</text>
        ${at !== undefined && html`<line class="at" x1=${px(at)} x2=${px(at)} y1=${BOX.top} y2=${height - BOX.bottom} />`}
        ${series.map((line) => html`
          <g class=${classes("line", line.tone)}>
            ${line.band && line.points.length > 1 && html`<path class="band" d=${around(line.band)} />`}
            ${line.points.length > 1 && html`<path class=${classes("stroke", line.dashed && "dashed")} d=${path(line.points)} />`}
            ${line.points.length <= 24 && line.points.map(([x, y]) => html`
              <circle cx=${px(x)} cy=${py(y)} r="3"><title>${`${line.name}: ${text(y)} at ${xText(x)}`}</title></circle>
            `)}
          </g>
        `)}
      </svg>
      ${series.length > 1 && html`
        <ul class="legend" aria-hidden="true">
          ${series.map((line) => html`<li class=${classes("line", line.tone)}><span class=${classes("swatch", line.dashed && "dashed")}></span>${line.name}</li>`)}
        </ul>
      `}
      <div class="sr"><table id="${id}-d">
        <caption>${title}</caption>
        <tbody>
          ${series.map((line) => html`<tr><th>${line.name}</th>${line.points.map(([x, y]) => html`<td>${xText(x)}: ${text(y)}</td>`)}</tr>`)}
        </tbody>
      </table></div>
    </figure>
  `;
}

const span = (low, high) => (low === high ? [low - 0.5, high + 0.5] : [low, high]);

/** Round places on an axis; the points' own, where those are few. */
function ticks(low, high, most, own = []) {
  if (own.length && own.length <= most) return own;
  const raw = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((each) => each * power).find((each) => each >= raw);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-9; value += step) found.push(value);
  return found;
}
