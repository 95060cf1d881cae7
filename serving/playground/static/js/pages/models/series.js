/** Curves of a model, where its figures have several budgets or several numbers of steps of one attack. */
import { budget } from "../../format.js";
import { defenceName } from "../../models.js";
import { WORST, isRobust, nameOf } from "./figures.js";

/** Of a model with one defence, the lines are told apart by their attacks. */
const TONES = ["static", "imt", "imt-plus", "unsure", "fooled", "soft"];

/**
 * The plots that a model's figures are enough for; in each, lines of the same kind.
 *
 * A model with several defences has a plot for each attack, in which the network as it is stands beside them.
 *
 * @param {Record<string, any>} model of the gateway
 * @returns {Record<string, any>[]} properties of ../../components/chart.js
 */
export function plots(model) {
  const { norm } = model.threat_model;
  // In L∞, ticks of round 255ths are what people read.
  const scale = norm === "linf" ? 255 : 1;
  const axes = [
    { over: "epsilon", title: "Accuracy against the budget", xLabel: norm === "linf" ? "ε in L∞" : "ε in L2", xText: (x) => budget(x / scale, norm), scale, at: model.threat_model.epsilon * scale },
    { over: "steps", title: "Accuracy against the attack's steps", xLabel: "steps", xText: String, scale: 1 },
  ];
  return axes.flatMap(({ over, title, scale: by, ...axis }) => {
    const lines = curves(model, over, by);
    if (model.defences.length === 1 && lines.length > 1) {
      return [{ ...axis, title, series: lines.map((line, i) => ({ ...line, name: line.attack, tone: TONES[i % TONES.length] })) }];
    }
    const attacks = [...new Set(lines.map((line) => line.attack))];
    return attacks.map((attack) => ({ ...axis, title: `${title}: ${attack}`, series: lines.filter((line) => line.attack === attack) }));
  });
}

function curves(model, over, scale) {
  const lines = new Map();
  for (const { dataset, seed, figures } of model.evaluations) {
    for (const figure of figures.filter((each) => isRobust(each) && each.name !== WORST)) {
      const at = over === "epsilon" ? figure.threat_model.epsilon : figure.parameters.steps;
      if (at === undefined || figure.threat_model.norm !== model.threat_model.norm) continue;
      const name = family(figure, over);
      // Only figures of the same images make a line.
      const id = JSON.stringify([dataset, seed, name, figure.defence, over === "steps" && figure.threat_model.epsilon]);
      const line = lines.get(id) || { name, figure, found: new Map(over === "epsilon" ? cleanOf(figures, figure.defence) : []) };
      line.found.set(at * scale, figure);
      lines.set(id, line);
    }
  }
  return [...lines.values()].filter(({ found }) => [...found.values()].filter(isRobust).length > 1).map(drawn);
}

function drawn({ name, figure, found }) {
  const sorted = [...found].sort(([a], [b]) => a - b);
  const { base, particular } = nameOf(name);
  const unaware = !figure.adaptive;
  return {
    attack: unaware || !particular ? base : `${base}, ${particular}`,
    name: `${defenceName(figure.defence)}${unaware ? `, ${particular}` : ""}`,
    tone: toneOf(figure.defence),
    dashed: unaware,
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

/** A budget of nothing is no attack. */
const cleanOf = (figures, defence) => figures.filter((each) => each.attack === null && each.defence === defence).map((each) => [0, each]);

/** The colour of a defence, in plots of several. */
export const toneOf = (defence) => ({ none: "static", imt: "imt", "imt+": "imt-plus" })[defence] || "soft";
