/** Curves of a model, where its figures have several budgets or several numbers of steps of one attack. */
import { defenceName } from "../../models.js";
import { WORST, isRobust, nameOf } from "./figures.js";

/**
 * Lines of accuracy, each an attack behind a defence.
 *
 * Only figures of the same images make a line.
 *
 * @param {object} model
 * @param {"epsilon" | "steps"} over
 * @returns {{name: string, tone: string, dashed: boolean, points: [number, number][], band: [number, number, number][]}[]}
 */
export function curves(model, over) {
  const lines = new Map();
  for (const { dataset, seed, figures } of model.evaluations) {
    for (const figure of figures.filter((each) => isRobust(each) && each.name !== WORST)) {
      const at = over === "epsilon" ? figure.threat_model.epsilon : figure.parameters.steps;
      if (at === undefined || figure.threat_model.norm !== model.threat_model.norm) continue;
      const name = family(figure, over);
      const id = JSON.stringify([dataset, seed, name, figure.defence, figure.adaptive, over === "steps" && figure.threat_model.epsilon]);
      const line = lines.get(id) || { name, figure, clean: over === "epsilon" && cleanOf(figures, figure.defence), found: new Map() };
      line.found.set(at, figure);
      lines.set(id, line);
    }
  }
  return [...lines.values()].filter((line) => line.found.size > 1).map((line) => drawn(line, model));
}

function drawn({ name, figure, clean, found }, model) {
  if (clean) found.set(0, clean);
  const sorted = [...found].sort(([a], [b]) => a - b);
  const { base, particular } = nameOf(name);
  const behind = model.defences.length > 1 ? `, ${defenceName(figure.defence)}` : "";
  return {
    name: `${base}${behind}${particular && `, ${particular}`}`,
    tone: toneOf(figure.defence),
    dashed: !figure.adaptive,
    points: sorted.map(([x, each]) => [x, each.accuracy]),
    band: sorted.map(([x, each]) => [x, ...each.interval]),
  };
}

/** An attack's line without what its curve is over. */
function family(figure, over) {
  const [base, ...rest] = figure.name.split(",");
  const kept = rest.filter((part) => part.split("=")[0] !== over);
  return [over === "steps" ? base.replace(/-\d+/, "") : base, ...kept].join(",");
}

const cleanOf = (figures, defence) => figures.find((each) => each.attack === null && each.defence === defence);

/** The colour of a defence, in plots of several. */
export const toneOf = (defence) => ({ none: "static", imt: "imt", "imt+": "imt-plus" })[defence] || "soft";
