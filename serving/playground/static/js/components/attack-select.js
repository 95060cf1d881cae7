/** A choice among the attacks, by what they ask of a model. */
import { html } from "../dom.js";

const GROUPS = { gradient: "By gradient", scores: "By scores alone", decision: "By decisions alone" };

export const AttackSelect = ({ id, attacks, value, onChange }) => html`
  <select id=${id} value=${value} onChange=${(event) => onChange(event.currentTarget.value)} aria-describedby="${id}-help">
    ${Object.entries(GROUPS).map(([access, title]) => html`
      <optgroup label=${title}>
        ${attacks.filter((each) => each.access === access).map((each) => html`<option value=${each.name}>${each.name}</option>`)}
      </optgroup>
    `)}
  </select>
`;
