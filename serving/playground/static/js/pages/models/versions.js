/** A model's versions, and which share of the requests that name none each answers. */
import { html } from "../../dom.js";
import { percent } from "../../format.js";
import { link } from "../../router.js";

export function Versions({ summary, version }) {
  const { name, versions, shares, latest } = summary;
  if (versions.length === 1) return html`<p class="help">Version ${versions[0]} is the only one, and answers all requests for ${name}.</p>`;
  const shared = Object.keys(shares).length > 1;
  return html`
    <p class="help">${shared ? "A canary is under way: requests that name no version are shared out." : `Requests that name no version come to version ${summary.default}.`} Whoever names a version gets it.</p>
    <table class="versions">
      <thead class="sr"><tr><th>Version</th><th>Share</th></tr></thead>
      <tbody>
        ${[...versions].reverse().map((each) => html`
          <tr key=${each}>
            <th scope="row">
              ${each === version ? html`<strong aria-current="true">version ${each}</strong>` : html`<a href=${link(["models", name, each])}>version ${each}</a>`}
              ${each === latest && html` <span class="tag plain-tag">newest</span>`}
              ${each === version && html` <span class="tag held">shown here</span>`}
            </th>
            <td>
              <span class="track" aria-hidden="true"><span class="fill" style=${{ width: `${100 * (shares[each] || 0)}%` }}></span></span>
              <span class="value">${percent(shares[each] || 0)}</span>
            </td>
          </tr>
        `)}
      </tbody>
    </table>
    <p class="help"><code>holdfast route ${name} --to ${latest}</code> gives all to one, <code>--rollback</code> goes back.</p>
  `;
}

/** What a version answers, in words; nothing if it is only answered to who names it. */
export const share = (summary, version) => summary?.shares[version] && `answers ${percent(summary.shares[version])} of requests`;
