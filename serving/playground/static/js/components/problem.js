/** Something went wrong: what, and what to do about it. */
import { html } from "../dom.js";
import { keyDialog } from "../session.js";
import { Icon } from "./icon.js";

const NEEDS_KEY = ["unauthenticated", "missing-scope"];

export function ProblemNote({ problem, retry, children }) {
  const { retryAfter, request_id: id } = problem.document || {};
  return html`
    <div class="note bad" role="alert">
      <${Icon} name="warning" />
      <div>
        <strong>${problem.title || "Something went wrong here"}</strong>
        <p>${problem.detail ?? problem.message}</p>
        ${retryAfter && html`<p>The server asks to wait ${retryAfter} s.</p>`}
        <div class="row">
          ${NEEDS_KEY.includes(problem.kind) &&
          html`<button type="button" onClick=${() => keyDialog.set(problem.kind)}>Enter a key</button>`}
          ${retry && html`<button type="button" onClick=${retry}>Try again</button>`}
          ${children}
        </div>
        ${id && html`<small>Request ${id}</small>`}
      </div>
    </div>
  `;
}

/** While something is on its way. */
export const Loading = ({ what }) => html`<p class="loading" role="status"><span class="spinner"></span>${what}</p>`;

/** Nothing is here yet. */
export const Empty = ({ title, children }) => html`
  <div class="empty"><strong>${title}</strong><p>${children}</p></div>
`;
