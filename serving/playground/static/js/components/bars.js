/** How probable the classes are, before and after. */
import { classes, html } from "../dom.js";
import { percent } from "../format.js";

/**
 * @param {object} props
 * @param {{label: string, before: number, after?: number}[]} props.rows the classes to list, with probabilities
 * @param {string} [props.marked] the class that is right, or was
 * @param {string} props.caption
 */
export function Bars({ rows, marked, caption }) {
  const compared = rows.some((row) => row.after !== undefined);
  const top = (part) => rows.reduce((best, row) => ((row[part] ?? -1) > (best?.[part] ?? -1) ? row : best), null);
  const winner = top(compared ? "after" : "before");
  return html`
    <table class="bars">
      <caption class="sr">${caption}</caption>
      <thead class="sr"><tr><th>Class</th>${compared && html`<th>Before</th>`}<th>${compared ? "After" : "Probability"}</th></tr></thead>
      <tbody>
        ${rows.map((row) => {
          const value = compared ? row.after : row.before;
          return html`
            <tr key=${row.label} class=${classes(row === winner && "winner", row.label === marked && "marked")}>
              <th scope="row" title=${row.label}>${row.label}${row.label === marked && html`<span class="sr"> (the label)</span>`}</th>
              ${compared && html`<td class="sr">${percent(row.before)}</td>`}
              <td>
                <span class="track" aria-hidden="true">
                  <span class="fill" style=${{ width: `${100 * value}%` }}></span>
                  ${compared && html`<span class="was" style=${{ left: `${100 * row.before}%` }}></span>`}
                </span>
                <span class="value">${percent(value)}</span>
              </td>
            </tr>
          `;
        })}
      </tbody>
    </table>
  `;
}

/** The most probable classes of one or two predictions, at most `most`; in the order of the first. */
export function rowsOf(before, after, most = 5) {
  const first = before.probabilities;
  const second = after?.probabilities;
  const rank = (label) => Math.max(first[label], second?.[label] ?? 0);
  return Object.keys(first)
    .sort((a, b) => rank(b) - rank(a))
    .slice(0, most)
    .sort((a, b) => first[b] - first[a])
    .map((label) => ({ label, before: first[label], ...(second && { after: second[label] }) }));
}
