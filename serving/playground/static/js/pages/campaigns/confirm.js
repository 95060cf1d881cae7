/** Asks before something that cannot be taken back. */
import { Dialog } from "../../components/dialog.js";
import { ProblemNote } from "../../components/problem.js";
import { html, useEffect, useState } from "../../dom.js";

/** The dialog stays until what `onConfirm` promises is done, and says what went wrong. */
export function Confirm({ title, text, action, open, onClose, onConfirm }) {
  const [state, setState] = useState({ busy: false, problem: null });
  useEffect(() => setState({ busy: false, problem: null }), [open]);
  async function confirm() {
    setState({ busy: true, problem: null });
    try {
      await onConfirm();
      onClose();
    } catch (problem) {
      setState({ busy: false, problem });
    }
  }
  return html`
    <${Dialog} title=${title} open=${open} onClose=${onClose}>
      <p>${text}</p>
      ${state.problem && html`<${ProblemNote} problem=${state.problem} />`}
      <div class="row">
        <button type="button" class="danger" disabled=${state.busy} onClick=${confirm}>${action}</button>
        <button type="button" onClick=${onClose}>Leave it</button>
      </div>
    <//>
  `;
}
