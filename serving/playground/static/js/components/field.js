/** A field of a form that is made from a parameter's schema. */
import { classes, html, useId, useRef } from "../dom.js";
import { number, words } from "../format.js";
import { budgetOf, complaint, shown } from "../schema.js";

/**
 * @param {object} props
 * @param {import("../schema.js").Field} props.field
 * @param {string} props.value as typed; empty for the default of what may be left out
 * @param {(value: string) => void} props.onChange
 * @param {string[]} [props.labels] the model's classes, for a target
 * @param {string} [props.norm] of the budget
 * @param {string} [props.complaint] what the server said of the value
 */
export function Field({ field, value, onChange, labels = [], norm = "linf", complaint: said }) {
  const id = useId();
  const wrong = said || complaint(field, value);
  const change = (event) => onChange(event.currentTarget.value);
  const Input = { budget: Budget, class: Target, choice: Choice, switch: Switch, text: Text }[field.kind] || NumberInput;
  return html`
    <div class=${classes("field", `of-${field.kind}`, wrong && "wrong")}>
      <label for=${id}>${field.name === "epsilon" ? "Budget ε" : words(field.name)}</label>
      <${Input} ...${{ field, value, change, onChange, id, labels, norm }} describedby="${id}-help" invalid=${Boolean(wrong)} />
      <p class="help" id="${id}-help">
        ${wrong && html`<span class="complaint">${wrong} </span>`}${field.help}
      </p>
    </div>
  `;
}

/** @param {any} props */
const described = ({ id, describedby, invalid }) => ({ id, "aria-describedby": describedby, "aria-invalid": invalid });

/** ε: a slider in steps that mean something for the norm, and the number itself. */
function Budget({ value, onChange, norm, field, ...rest }) {
  const scale = norm === "linf" ? { most: 32, step: 1, text: (n) => `${n}/255`, of: (x) => x * 255 } : { most: 3, step: 0.05, text: String, of: (x) => x };
  const exact = budgetOf(value);
  // A larger budget, as of digits, takes the whole range; it stays so, or the slider would jump under the finger.
  const wide = useRef(false);
  wide.current ||= norm === "linf" && exact * 255 > scale.most;
  return html`
    <div class="row">
      ${(!field.nullable || value) &&
      html`<input
        type="range"
        min="0"
        max=${wide.current ? 255 : scale.most}
        step=${scale.step}
        value=${Number.isFinite(exact) ? scale.of(exact) : 0}
        aria-label="Budget, as a slider"
        aria-valuetext=${value}
        onInput=${(event) => onChange(scale.text(Number(event.currentTarget.value)))}
      />`}
      <input
        ...${described(rest)}
        class="short"
        type="text"
        inputmode="decimal"
        value=${value}
        placeholder=${field.nullable ? "automatic" : ""}
        onInput=${(event) => onChange(event.currentTarget.value)}
      />
      ${value.includes("/") && Number.isFinite(exact) && html`<span class="value">= ${number(exact)}</span>`}
    </div>
  `;
}

function Target({ field, value, change, labels, ...rest }) {
  return html`
    <select ...${described(rest)} value=${value} onChange=${change}>
      <option value="">any wrong class</option>
      ${labels.map((label) => html`<option value=${label}>${label}</option>`)}
      ${field.choices.map((choice) => html`<option value=${choice}>${choice.replace("-", " ")}</option>`)}
    </select>
  `;
}

const NAMES = { linf: "L∞", l2: "L2" };

const Choice = ({ field, value, change, ...rest }) => html`
  <select ...${described(rest)} value=${value} onChange=${change}>
    ${field.choices.map((choice) => html`<option value=${choice}>${NAMES[choice] || choice}</option>`)}
  </select>
`;

const Switch = ({ value, onChange, ...rest }) => html`
  <input
    ...${described(rest)}
    type="checkbox"
    role="switch"
    checked=${value === "true"}
    onChange=${(event) => onChange(String(event.currentTarget.checked))}
  />
`;

const Text = ({ field, value, change, ...rest }) => html`
  <input ...${described(rest)} type="text" value=${value} list="${rest.id}-examples" onInput=${change} />
  <datalist id="${rest.id}-examples">${field.examples?.map((example) => html`<option value=${example}></option>`)}</datalist>
`;

const NumberInput = ({ field, value, change, ...rest }) => html`
  <input
    ...${described(rest)}
    class="short"
    type="number"
    step=${field.kind === "integer" ? 1 : "any"}
    min=${field.minimum}
    max=${field.maximum}
    value=${value}
    placeholder=${field.nullable ? "automatic" : ""}
    onInput=${change}
  />
`;

/** The values a form begins with. */
export function initialValues(list, model) {
  const values = Object.fromEntries(list.map((field) => [field.name, shown(field, field.initial)]));
  const threat = model?.threat_model;
  // The gateway takes the model's own threat model where none is given: so the form says it.
  if (threat && "epsilon" in values && values.epsilon !== "") {
    const norms = list.find((field) => field.name === "norm")?.choices;
    if (!norms || norms.includes(threat.norm)) {
      values.epsilon = shown(list.find((field) => field.name === "epsilon"), threat.epsilon);
      if (norms) values.norm = threat.norm;
    }
  }
  return values;
}
