/** A part of a page, with its heading. */
import { html } from "../../dom.js";

export const Section = ({ id, title, children }) => html`
  <section class="card" aria-labelledby="${id}-title">
    <h2 id="${id}-title">${title}</h2>
    ${children}
  </section>
`;
