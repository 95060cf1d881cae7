/** A modal dialog, by the browser's own. */
import { html, useEffect, useRef } from "../dom.js";
import { Icon } from "./icon.js";

export function Dialog({ title, open, onClose, children }) {
  const element = useRef(null);
  useEffect(() => {
    if (open && !element.current.open) element.current.showModal();
    if (!open && element.current.open) element.current.close();
  }, [open]);
  return html`
    <dialog ref=${element} aria-label=${title} onClose=${onClose}>
      ${open && html`
        <div class="row spread">
          <h2>${title}</h2>
          <button type="button" class="quiet" onClick=${onClose}><${Icon} name="close" /><span class="sr">Close</span></button>
        </div>
        ${children}
      `}
    </dialog>
  `;
}
