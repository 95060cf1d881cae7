/** Which attacks: each with its parameters, at one budget or several. */
import { AttackSelect } from "../../components/attack-select.js";
import { Field } from "../../components/field.js";
import { Icon } from "../../components/icon.js";
import { html, useMemo } from "../../dom.js";
import { count } from "../../format.js";
import { fields } from "../../schema.js";
import { Budgets } from "./budgets.js";
import { entryOf, lacks, normOf } from "./draft.js";

/** `complaints`: what the server said of the values of an entry, by its id. */
export function AttacksField({ attacks, entries, model, classNames, complaints, onChange }) {
  const replace = (next) => onChange(entries.map((each) => (each.id === next.id ? next : each)));
  const kindOf = (entry) => attacks.find((each) => each.name === entry.attack);
  function add() {
    const used = new Set(entries.map((each) => each.attack));
    const next = ["autoattack", "fgsm", "square", ...attacks.map((each) => each.name)].find(
      (name) => !used.has(name) && attacks.some((each) => each.name === name),
    );
    onChange([...entries, entryOf(attacks.find((each) => each.name === (next || "pgd")) || attacks[0], model)]);
  }
  return html`
    <ol class="entries">
      ${entries.map((entry, i) => html`
        <${Entry} key=${entry.id} place=${i + 1} entry=${entry} attack=${kindOf(entry)} attacks=${attacks} classNames=${classNames}
          said=${complaints[entry.id] || {}} onChange=${replace}
          onKind=${(name) => replace({ ...entryOf(attacks.find((each) => each.name === name), model), id: entry.id })}
          onRemove=${entries.length > 1 && (() => onChange(entries.filter((each) => each.id !== entry.id)))} />
      `)}
    </ol>
    <div class="row"><button type="button" onClick=${add}><${Icon} name="plus" />Add an attack</button></div>
  `;
}

function Entry({ place, entry, attack, attacks, classNames, said, onChange, onKind, onRemove }) {
  const list = useMemo(() => fields(attack.parameters), [attack]);
  const norm = normOf(entry, attack);
  const id = `attack-${entry.id}`;
  const set = (name, value) => {
    const next = { ...entry, values: { ...entry.values, [name]: value } };
    // A budget of one norm says nothing in the other.
    if (name === "norm" && entry.budgets.length) next.budgets = [value === "l2" ? "0.5" : "8/255"];
    onChange(next);
  };
  const shown = (field) =>
    field.name === "epsilon"
      ? html`<${Budgets} key="epsilon" field=${field} entry=${entry} attack=${attack} norm=${norm} said=${said.epsilon} onChange=${onChange} />`
      : html`<${Field} key=${field.name} field=${field} value=${entry.values[field.name] ?? ""} labels=${classNames} norm=${norm} complaint=${said[field.name]} onChange=${(value) => set(field.name, value)} />`;
  const more = list.filter((field) => !field.main);
  const missing = lacks(entry, attack);
  return html`
    <li class="entry" aria-label="Attack ${place}, ${entry.attack}">
      <div class="row spread top-row">
        <div class="field">
          <label for=${id}>Attack</label>
          <${AttackSelect} id=${id} attacks=${attacks} value=${entry.attack} onChange=${onKind} />
        </div>
        ${onRemove && html`<button type="button" class="quiet" onClick=${onRemove}><${Icon} name="close" /><span class="sr">Remove ${entry.attack}</span></button>`}
      </div>
      <p class="help" id="${id}-help">
        ${attack.summary} <cite>${attack.source}</cite>${" "}
        At most ${count(attack.passes.forwards, "forward pass", "forward passes")} for an image by its defaults.
      </p>
      <div class="parameters">${list.filter((field) => field.main).map(shown)}</div>
      ${more.length > 0 && html`
        <details class="more" open=${more.some((field) => said[field.name])}>
          <summary>More settings</summary>
          <div class="parameters">${more.map(shown)}</div>
        </details>
      `}
      ${missing && html`<p class="complaint">${missing}</p>`}
    </li>
  `;
}
