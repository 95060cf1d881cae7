/** How many of each kind there were, over time: stacked bars, oldest on the left, with the sums as a table. */
import { html, useId } from "../dom.js";
import { count } from "../format.js";

/**
 * @param {object} props
 * @param {string} props.title what it shows
 * @param {{name: string, tone: string}[]} props.kinds from the bottom up
 * @param {number[][]} props.bars for each bar how many of each kind
 * @param {string} props.from when the first bar began, in words
 * @param {string} props.unit what is counted, such as `image`
 * @param {string} props.each how long a bar is, in words
 */
export function Stack({ title, kinds, bars, from, unit, each }) {
  const id = useId();
  const sums = kinds.map((_, kind) => bars.reduce((sum, bar) => sum + bar[kind], 0));
  const most = Math.max(1, ...bars.map((bar) => bar.reduce((sum, one) => sum + one, 0)));
  return html`
    <figure class="stack">
      <figcaption id=${id}>${title} <small>${each}</small></figcaption>
      <div class="frame" aria-hidden="true">
        <span class="most">${most.toLocaleString("en")}</span>
        <svg viewBox="0 0 ${bars.length} ${most}" preserveAspectRatio="none">
          ${bars.map((bar, i) => pile(bar).map(([from_, size], kind) => size > 0 && html`
            <rect class=${`line ${kinds[kind].tone}`} x=${i + 0.08} width="0.84" y=${most - from_ - size} height=${size} />
          `))}
        </svg>
        <span class="from">${from}</span><span class="now">now</span>
      </div>
      <table class="legend sums" aria-labelledby=${id}>
        <thead class="sr"><tr><th>Kind</th><th>How many</th></tr></thead>
        <tbody>
          ${kinds.map(({ name, tone }, kind) => html`
            <tr key=${name} class=${`line ${tone}`}><th scope="row"><span class="dot"></span>${name}</th><td title=${count(sums[kind], unit)}>${sums[kind].toLocaleString("en")}</td></tr>
          `)}
        </tbody>
      </table>
    </figure>
  `;
}

/** Where each part of a bar begins, and how large it is. */
function pile(bar) {
  let at = 0;
  return bar.map((size) => {
    at += size;
    return [at - size, size];
  });
}
