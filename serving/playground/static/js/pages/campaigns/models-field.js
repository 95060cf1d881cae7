/** Which models, and through which of their defences. */
import { html, useId } from "../../dom.js";
import { DEFENCES, defenceName } from "../../models.js";

export function ModelsField({ models, chosen, onChange }) {
  const sets = new Set(models.filter((model) => chosen[model.name]).map((model) => model.dataset));
  const toggle = (model) => {
    const { [model.name]: there, ...rest } = chosen;
    // In the order of the list, whatever was chosen first.
    const next = there ? rest : { ...chosen, [model.name]: [model.defences[0]] };
    onChange(Object.fromEntries(models.filter((each) => next[each.name]).map((each) => [each.name, next[each.name]])));
  };
  return html`
    <ul class="choices">
      ${models.map((model) => html`
        <${Model} key=${model.name} model=${model} defences=${chosen[model.name]} onToggle=${() => toggle(model)}
          onDefences=${(defences) => onChange({ ...chosen, [model.name]: defences })} />
      `)}
    </ul>
    ${!Object.keys(chosen).length && html`<p class="complaint">Choose at least one model.</p>`}
    ${sets.size > 1 && html`<p class="help">These models were made for different data (${[...sets].join(", ")}): a label has to be a class of each.</p>`}
  `;
}

function Model({ model, defences, onToggle, onDefences }) {
  const id = useId();
  const change = (defence, on) => {
    const next = model.defences.filter((each) => (each === defence ? on : defences.includes(each)));
    if (next.length) onDefences(next);
  };
  return html`
    <li class="choice">
      <input type="checkbox" id=${id} checked=${Boolean(defences)} onChange=${onToggle} aria-describedby="${id}-help" />
      <div>
        <label for=${id}>${model.name}</label>
        <p class="help" id="${id}-help">${model.dataset}, ${model.classes} classes. ${model.description}</p>
        ${defences && model.defences.length > 1 && html`
          <fieldset class="row" aria-label="Defences of ${model.name}">
            ${model.defences.map((each) => html`
              <label class="check" title=${DEFENCES[each]?.says}>
                <input type="checkbox" checked=${defences.includes(each)} disabled=${defences.length === 1 && defences[0] === each} onChange=${(event) => change(each, event.currentTarget.checked)} />
                ${defenceName(each)}
              </label>
            `)}
          </fieldset>
        `}
      </div>
    </li>
  `;
}
