/** The budgets of an attack: several of them make several runs, and a curve. */
import { html, useId, useState } from "../../dom.js";
import { NORMS } from "../../format.js";
import { complaint } from "../../schema.js";
import { budgetsOf, has, toggle } from "./draft.js";

export function Budgets({ field, entry, attack, norm, said, onChange }) {
  const id = useId();
  const [typed, setTyped] = useState("");
  const wrong = said || (typed && complaint({ ...field, nullable: true }, typed));
  function add() {
    if (!typed.trim() || wrong) return;
    if (!has(entry, typed)) onChange(toggle(entry, typed.trim()));
    setTyped("");
  }
  const enter = (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    add();
  };
  return html`
    <fieldset class="field budgets" aria-describedby="${id}-help">
      <legend>Budgets ε <small>${NORMS[norm]}</small></legend>
      <div class="row">
        ${budgetsOf(entry, attack).map((budget) => html`
          <button type="button" class="chip" key=${budget} aria-pressed=${has(entry, budget)} onClick=${() => onChange(toggle(entry, budget))}>${budget}</button>
        `)}
        <input class="short" type="text" inputmode="decimal" placeholder="another" aria-label="Another budget" aria-invalid=${Boolean(wrong)}
          value=${typed} onInput=${(event) => setTyped(event.currentTarget.value)} onKeyDown=${enter} onBlur=${add} />
      </div>
      <p class="help" id="${id}-help">
        ${wrong && html`<span class="complaint">${wrong} </span>`}
        ${field.nullable && !entry.budgets.length
          ? "It looks for the nearest image that fools the model, however far."
          : entry.budgets.length > 1
            ? `Attacked at each of the ${entry.budgets.length}, to draw accuracy against ε.`
            : "Choose several to draw accuracy against ε."}
      </p>
    </fieldset>
  `;
}
