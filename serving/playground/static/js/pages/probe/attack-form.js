/** Choose an attack and its parameters; the form is made from what the gateway says of them. */
import { AttackSelect } from "../../components/attack-select.js";
import { Field, initialValues } from "../../components/field.js";
import { ProblemNote } from "../../components/problem.js";
import { html, useEffect, useMemo, useState } from "../../dom.js";
import { count, duration } from "../../format.js";
import { defenceName } from "../../models.js";
import { link } from "../../router.js";
import { changed, complaint, fields } from "../../schema.js";

export function AttackForm({ attacks, model, version, image, attack }) {
  const [name, setName] = useState("pgd");
  const [defence, setDefence] = useState(model.defences[0]);
  const [label, setLabel] = useState("known");
  const [values, setValues] = useState({});
  const entry = attacks.find((each) => each.name === name) || attacks[0];
  const list = useMemo(() => fields(entry.parameters), [entry]);
  // As it is labelled, where that is one of this model's classes.
  const known = model.classes.includes(image?.label) ? image.label : null;
  useEffect(() => setDefence(model.defences[0]), [model.digest]);
  // A class is said of one image, and is none of a model of other data.
  useEffect(() => setLabel((before) => (before === "model" ? before : "known")), [image]);
  useEffect(() => setLabel((before) => (before === "model" || model.classes.includes(before) ? before : "known")), [model.digest]);
  // What was typed for another attack stays where this one has a parameter of that name.
  useEffect(() => setValues((before) => ({ ...initialValues(list, model), ...kept(list, before) })), [list]);
  useEffect(() => setValues(initialValues(list, model)), [model.digest]);

  const wrong = list.some((field) => complaint(field, values[field.name] ?? ""));
  const said = attack.problem?.kind === "invalid-request" ? attack.problem.fields : {};
  const norm = values.norm || (entry.norms.length === 1 ? entry.norms[0] : "linf");

  function change(field, value) {
    const next = { ...values, [field]: value };
    // A budget of one norm says nothing in the other.
    if (field === "norm" && values.epsilon) next.epsilon = value === "l2" ? "0.5" : "8/255";
    setValues(next);
  }

  function submit(event) {
    event.preventDefault();
    if (attack.running) return attack.stop();
    if (wrong || !image) return undefined;
    const named = label === "known" ? known : label === "model" ? null : label;
    const parameters = changed(list, values);
    // The gateway's default is the model's threat model, and what the form shows is what is meant.
    for (const each of ["norm", "epsilon"]) if (values[each]) parameters[each] = values[each];
    return attack.start({ model: model.name, version, attack: entry.name, defence, label: named, parameters });
  }

  const shown = (field) => html`
    <${Field} key=${`${entry.name}.${field.name}`} field=${field} value=${values[field.name] ?? ""} onChange=${(value) => change(field.name, value)} labels=${model.classes} norm=${norm} complaint=${said[field.name]} />
  `;
  const more = list.filter((field) => !field.main);
  return html`
    <form onSubmit=${submit} novalidate>
      <div class="field">
        <label for="attack-name">Attack</label>
        <${AttackSelect} id="attack-name" attacks=${attacks} value=${name} onChange=${setName} />
        <p class="help" id="attack-name-help">${entry.summary} <cite>${entry.source}</cite></p>
      </div>
      ${model.defences.length > 1 && html`
        <div class="field">
          <label for="attack-defence">Attacked through</label>
          <select id="attack-defence" value=${defence} onChange=${(event) => setDefence(event.currentTarget.value)}>
            ${model.defences.map((each) => html`<option value=${each}>${defenceName(each)}</option>`)}
          </select>
          <p class="help">The defence that the attacker knows of and goes through; the others are shown the result.</p>
        </div>
      `}
      ${list.filter((field) => field.main).map(shown)}
      <details class="more">
        <summary>More settings</summary>
        <div class="field">
          <label for="attack-label">The image is of</label>
          <select id="attack-label" value=${known || label !== "model" ? label : "known"} onChange=${(event) => setLabel(event.currentTarget.value)}>
            ${known && html`<option value="known">${known}, as it is labelled</option>`}
            <option value=${known ? "model" : "known"}>what the model says it is</option>
            ${model.classes.map((each) => html`<option value=${each}>${each}</option>`)}
          </select>
          <p class="help">The class that the attack is to leave.</p>
        </div>
        ${more.map(shown)}
      </details>
      <div class="row">
        <button type="submit" class="primary" disabled=${!image || (!attack.running && wrong)}>${attack.running ? "Stop" : "Attack"}</button>
        <span class="help">At most ${count(entry.passes.forwards, "forward pass", "forward passes")}${entry.passes.backwards > 0 && `, ${entry.passes.backwards.toLocaleString("en")} back`} by its defaults.</span>
      </div>
      <${Progress} attack=${attack} />
      ${attack.problem && html`
        <${ProblemNote} problem=${attack.problem}>
          ${attack.problem.kind === "attack-too-costly" && html`<a class="button" href=${link(["campaigns", "new"], { ...attack.request.parameters, model: model.name, attack: attack.request.attack })}>Make it a campaign</a>`}
        <//>
      `}
    </form>
  `;
}

function Progress({ attack }) {
  if (!attack.running) return null;
  const { kind, done, total, seconds, waiting } = attack.progress || {};
  const text =
    kind === "waiting" && waiting > 0
      ? `${count(waiting, "attack")} before this one`
      : kind === "progress"
        ? `${done.toLocaleString("en")} of at most ${total.toLocaleString("en")} steps, ${duration(seconds)}`
        : "Beginning …";
  return html`
    <div class="progress">
      <progress max=${total || 1} value=${kind === "progress" ? done : undefined} aria-label="The attack's progress"></progress>
      <span role="status">${text}</span>
    </div>
  `;
}

/** Of what was typed, what has a place among these fields and is no budget of another norm. */
function kept(list, values) {
  const names = new Set(list.map((field) => field.name));
  return Object.fromEntries(
    Object.entries(values).filter(([name, value]) => name === "seed" && names.has(name) && value !== ""),
  );
}
