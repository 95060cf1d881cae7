/** What a model can claim, from the figures of its manifest; the gateway and the command line choose alike. */

export const WORST = "worst case";

/** Images from which on an accuracy is more than an impression. */
const MANY = 100;

/** Evaluations, the newest first. */
export const newestFirst = (model) => [...model.evaluations].sort((a, b) => Date.parse(b.date) - Date.parse(a.date));

/** Those on the data set that the model is of: others say nothing that compares with other models. */
const ownEvaluations = (model) => {
  const name = model.dataset.name;
  return newestFirst(model).filter(({ dataset }) => name === "unknown" || dataset === name || dataset.startsWith(`${name}, `));
};

/** Accuracy under an attack with a budget. Without one, every image falls in the end, and the norm is what counts. */
export const isRobust = (figure) => figure.attack !== null && figure.threat_model !== null;

/** Whether a robust figure is of this budget. */
export const within = (threat) => (figure) =>
  figure.threat_model.norm === threat.norm && Math.abs(figure.threat_model.epsilon - threat.epsilon) < 1e-9;

/** Of equals the first. */
const least = (found, by) => found.reduce((low, each) => (low && by(low) <= by(each) ? low : each), undefined);

/** How many attacks a figure is the worst of. */
export const attacksOf = (figure) => figure.attack.split(" + ").length;

/** Orders figures by their accuracy, and of equals puts the one first that counts the most attacks. */
const height = (figure) => figure.accuracy - 1e-9 * attacksOf(figure);

const lowest = (figures) => least(figures, height) || null;

/**
 * What stands for a model behind a defence.
 *
 * @returns {{defence: string, clean?: object, worst?: object, unaware?: object, evaluation?: object}} the clean
 *   figure on the most images; the lowest under attack, within the model's own budget and on a hundred images if
 *   there are such; the lowest of the same evaluation under those attacks alone that do not know the defence
 */
export function claim(model, defence) {
  const own = within(model.threat_model);
  const evaluations = ownEvaluations(model).map((evaluation) => ({ evaluation, figures: evaluation.figures.filter((each) => each.defence === defence) }));
  const clean = least(evaluations.flatMap((each) => each.figures).filter((each) => each.attack === null), (each) => -each.images);
  const attacked = evaluations.map(({ evaluation, figures }) => ({ evaluation, counted: figures.filter(isRobust) })).filter((each) => each.counted.length);
  const ours = attacked.map((each) => ({ ...each, counted: each.counted.filter(own) })).filter((each) => each.counted.length);
  const said = (ours.length ? ours : attacked).map((each) => ({ ...each, worst: lowest(each.counted) }));
  const many = said.filter(({ worst }) => worst.images >= MANY);
  const chosen = least(many.length ? many : said, ({ worst }) => height(worst));
  if (!chosen) return { defence, clean };
  const { evaluation, counted, worst } = chosen;
  return { defence, clean, evaluation, worst, unaware: lowest(counted.filter((each) => !each.adaptive)) };
}

export const claims = (model) => model.defences.map((defence) => claim(model, defence));

/** Where one reason ends and the next begins; a reason may have a semicolon of its own. */
const NEXT = /; (?=\S+ (?:leaves|was|behind) |\S+: )/;

/** Why not to believe robust figures, each reason once; those of the newest evaluation first. */
export function doubts(model) {
  const found = [];
  for (const evaluation of newestFirst(model)) {
    const add = (doubt) => found.push({ doubt, evaluation });
    for (const reason of (evaluation.unreliable || "").split(NEXT)) if (reason && !found.some((each) => each.doubt === reason)) add(reason);
    // Most flags have been told of by then, with the attack before them.
    for (const { name, flags } of evaluation.figures)
      for (const flag of flags) if (!found.some((each) => each.doubt.endsWith(flag))) add(`${name}: ${flag}`);
  }
  return found;
}

/** An attack's line in two parts: `pgd-20`, and what is particular about it in words. */
export function nameOf(line) {
  const [base, ...rest] = line.split(",");
  const words = rest.map((part) => {
    const [key, value] = part.split("=");
    if (key === "from") return value === "none" ? "does not know the defence" : `made on ${value}`;
    if (key === "through") return value.replaceAll("-", " ");
    if (key === "epsilon") return `ε ${value}`;
    return `${key.replaceAll("_", " ")} ${value}`;
  });
  return { base, particular: words.join(", ") };
}

/** Whether an attack that sees no gradients is among the lines: masked gradients do not deceive it. */
export function hasBlackBox(model, attacks) {
  const blind = attacks.filter((each) => each.access !== "gradient" && each.name !== "noise").map((each) => each.name).concat("autoattack");
  const names = model.evaluations.flatMap((each) => each.figures).filter(isRobust).flatMap((figure) => figure.attack.split(" + "));
  return names.some((name) => blind.some((each) => name.split(",")[0].split("-")[0] === each));
}
