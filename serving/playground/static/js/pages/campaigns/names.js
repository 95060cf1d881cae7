/** What models and attacks are called in a result. */
import { NORMS, budget } from "../../format.js";
import { defenceName } from "../../models.js";

/** A first version is the model; later ones are told apart. */
export const modelName = ({ model, version }) => (version === "1" ? model : `${model}/${version}`);

export const sideName = (run) => (run.defence === "none" ? modelName(run) : `${modelName(run)} with ${defenceName(run.defence)}`);

/** A name has no slash, and so says `pgd-8-of-255` for the PGD of 8/255. */
const OF_BUDGET = /-([\d.]+(?:-of-\d+)?)$/;

export const inName = (epsilon) => epsilon.trim().replaceAll("/", "-of-").replaceAll(/[^\w.+-]/g, "");

/** An attack's name where its budget stands beside it. */
export function attackName(name, within) {
  const [ending, said] = OF_BUDGET.exec(name) || [];
  return within && said && said === inName(budget(within.epsilon, within.norm)) ? name.slice(0, -ending.length) : name;
}

/** An attack's name where its budget does not. */
export const wholeName = (name) => name.replace(/-([\d.]+)-of-(\d+)$/, " $1/$2");

export const budgetName = (it) => (it ? `${NORMS[it.norm]} ${budget(it.epsilon, it.norm)}` : "nearest");

export const runName = (run) => `${attackName(run.attack, run.record.budget)} on ${sideName(run)}`;
