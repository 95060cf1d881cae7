/** A campaign that is being put together; it stays as it is while one looks at another page. */
import { initialValues } from "../../components/field.js";
import { budgetOf, changed, complaint, fields } from "../../schema.js";
import { atom } from "../../store.js";
import { inName } from "./names.js";

export const draft = atom(null);

export const change = (patch) => draft.set({ ...draft.get(), ...patch });

let numbered = 0;

/** What one begins with: one model, one attack, the example images. */
export function fresh({ model, attack }) {
  return {
    models: { [model.name]: [model.defences[0]] },
    attacks: [entryOf(attack, model)],
    source: "examples",
    files: [],
    left: [],
    dataset: { name: "", first: "0", count: "50" },
    labels: "",
    layout: "auto",
    floats: false,
    name: "",
  };
}

/** An attack as it is first shown, with the budget that the model was made for. */
export function entryOf(attack, model) {
  const values = initialValues(fields(attack.parameters), model);
  const budgets = values.epsilon ? [values.epsilon] : [];
  numbered += 1;
  return { id: numbered, attack: attack.name, values: { ...values, epsilon: "" }, budgets };
}

/** The same with the parameters that an address gives. */
export function prefilled(entry, query) {
  const values = { ...entry.values };
  for (const name of Object.keys(values)) if (query.has(name)) values[name] = query.get(name);
  const { epsilon } = values;
  return { ...entry, values: { ...values, epsilon: "" }, budgets: epsilon ? [epsilon] : entry.budgets };
}

export const PRESETS = { linf: ["2/255", "4/255", "8/255", "16/255"], l2: ["0.25", "0.5", "1", "2"] };

export const normOf = (entry, attack) => entry.values.norm || attack.norms[0];

/** Those that are offered and those that were typed, from the smallest to the largest. */
export function budgetsOf(entry, attack) {
  const offered = PRESETS[normOf(entry, attack)];
  const typed = entry.budgets.filter((each) => !offered.some((other) => budgetOf(other) === budgetOf(each)));
  return [...offered, ...typed].sort((a, b) => budgetOf(a) - budgetOf(b));
}

export const has = (entry, budget) => entry.budgets.some((each) => budgetOf(each) === budgetOf(budget));

export function toggle(entry, budget) {
  const budgets = has(entry, budget) ? entry.budgets.filter((each) => budgetOf(each) !== budgetOf(budget)) : [...entry.budgets, budget];
  return { ...entry, budgets: budgets.sort((a, b) => budgetOf(a) - budgetOf(b)) };
}

/** The attack, once for each of its budgets, and which entry each of them came of. */
export function expand(entries, attacks) {
  const all = entries.flatMap((entry) => {
    const attack = attacks.find((each) => each.name === entry.attack);
    const list = fields(attack.parameters);
    const parameters = changed(list, entry.values);
    if (entry.values.norm) parameters.norm = entry.values.norm;
    const budgets = entry.budgets.length ? entry.budgets : [null];
    return budgets.map((epsilon) => ({
      entry: entry.id,
      wanted: budgets.length > 1 ? `${entry.attack}-${inName(epsilon)}` : entry.attack,
      choice: { attack: entry.attack, parameters: epsilon === null ? parameters : { ...parameters, epsilon } },
    }));
  });
  const taken = new Set();
  for (const each of all) {
    let name = each.wanted;
    for (let again = 2; taken.has(name); again += 1) name = `${each.wanted}-${again}`;
    taken.add(name);
    if (name !== each.choice.attack) each.choice.name = name;
  }
  return all;
}

/** What an entry lacks, in words; empty if nothing. */
export function lacks(entry, attack) {
  const list = fields(attack.parameters);
  const epsilon = list.find((field) => field.name === "epsilon");
  if (epsilon && !epsilon.nullable && !entry.budgets.length) return "Choose a budget.";
  const wrong = list.some((field) => field.name !== "epsilon" && complaint(field, entry.values[field.name] ?? ""));
  return wrong ? "One of the values cannot be used." : "";
}

/** The campaign as the gateway takes it, without its files. */
export function requestOf(chosen, expanded, examples) {
  const { source, dataset } = chosen;
  const request = {
    name: chosen.name.trim(),
    models: Object.entries(chosen.models).map(([model, defences]) => ({ model, defences })),
    attacks: expanded.map((each) => each.choice),
    labels: labelsOf(chosen, examples),
    float_images: chosen.floats,
  };
  if (source === "files") request.layout = chosen.layout;
  if (source === "dataset") {
    request.dataset = { name: dataset.name, first: Number(dataset.first) };
    if (dataset.count) request.dataset.count = Number(dataset.count);
  }
  return request;
}

function labelsOf(chosen, examples) {
  if (chosen.source === "examples" && chosen.labels !== "model") return examples.map((each) => each.label);
  if (chosen.labels === "folder" && foldered(chosen)) return chosen.files.map(folderOf);
  if (chosen.source === "dataset" && chosen.dataset.labels === "folder") return chosen.labels || "folder";
  return chosen.labels || "auto";
}

/** Whether the files were opened as a folder of folders: what is sent has no folders, so the labels are. */
export const foldered = ({ source, files }) => source === "files" && files.length > 0 && files.every((file) => folderOf(file) && isImage(file));

const folderOf = (file) => file.webkitRelativePath?.split("/").at(-2) || "";

export const isImage = (file) => file.type.startsWith("image/");
