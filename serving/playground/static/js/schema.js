/**
 * From a parameter's JSON Schema to what a form needs to know of it.
 *
 * The gateway describes every attack's parameters so; nothing here knows any attack.
 */

/** Parameters that are shown at once; the others wait behind "More settings". */
const FIRST = ["epsilon", "norm", "steps", "query_budget", "tries", "target"];

/**
 * @typedef {object} Field
 * @property {string} name @property {string} help
 * @property {"budget" | "class" | "choice" | "switch" | "integer" | "number" | "text"} kind
 * @property {boolean} nullable @property {boolean} main @property {any} initial
 * @property {string[]} [choices] @property {number} [minimum] @property {number} [maximum] @property {string[]} [examples]
 */

/** @returns {Field[]} those that are shown at once, first */
export function fields(schema) {
  return Object.entries(schema.properties)
    .map(([name, property]) => ({
      name,
      main: FIRST.includes(name),
      help: property.description || "",
      initial: property.default,
      ...kindOf(name, property),
    }))
    .sort((a, b) => place(a.name) - place(b.name));
}

const place = (name) => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length);

/** @returns {Pick<Field, "kind" | "nullable" | "choices" | "minimum" | "maximum" | "examples">} */
function kindOf(name, property) {
  const options = flatten(property);
  const nullable = options.some((option) => option.type === "null");
  const real = options.filter((option) => option.type !== "null");
  if (options.some((option) => option.format === "budget")) {
    return { kind: "budget", nullable };
  }
  const named = real.flatMap((option) => option.enum || []);
  const numeric = real.find((option) => option.type === "integer" || option.type === "number");
  if (name === "target") return { kind: "class", nullable, choices: named };
  if (named.length) return { kind: "choice", nullable, choices: named };
  if (real[0]?.type === "boolean") return { kind: "switch", nullable };
  if (numeric) {
    return {
      kind: numeric.type,
      nullable,
      minimum: numeric.minimum ?? numeric.exclusiveMinimum,
      maximum: numeric.maximum ?? numeric.exclusiveMaximum,
    };
  }
  return { kind: "text", nullable, examples: property.examples || [] };
}

/** The alternatives of a schema, in one list; a `format` above holds for all below. */
function flatten(property) {
  if (!property.anyOf) return [property];
  return property.anyOf.flatMap(flatten).map((option) => ({ format: property.format, ...option }));
}

/** A value as it is typed. */
export function shown(field, value) {
  if (value === null || value === undefined) return "";
  if (field.kind === "budget" && typeof value === "number") {
    const steps = value * 255;
    const whole = Math.round(steps);
    return Math.abs(steps - whole) < 1e-6 && whole <= 64 ? `${whole}/255` : String(value);
  }
  return String(value);
}

/** What is typed, as a number of image units; NaN if it is none. */
export function budgetOf(text) {
  const [, above, , below] = /^\s*([0-9.]+(e[+-]?\d+)?)\s*(?:\/\s*(\d+))?\s*$/i.exec(text) || [];
  return above === undefined ? NaN : Number(above) / (below === undefined ? 1 : Number(below));
}

/** What is wrong with what was typed, in words; empty if nothing is. */
export function complaint(field, text) {
  if (text === "") return field.nullable || field.kind === "text" ? "" : "A value is needed.";
  if (field.kind === "budget") {
    return Number.isFinite(budgetOf(text)) ? "" : "A number, or a fraction such as 8/255.";
  }
  if (field.kind === "integer" || field.kind === "number") {
    const value = Number(text);
    if (!Number.isFinite(value)) return "A number is needed.";
    if (field.kind === "integer" && !Number.isInteger(value)) return "A whole number is needed.";
    if (field.minimum !== undefined && value < field.minimum) return `At least ${field.minimum}.`;
    if (field.maximum !== undefined && value > field.maximum) return `At most ${field.maximum.toLocaleString("en")}.`;
  }
  return "";
}

/** The parameters that differ from their defaults, as the gateway takes them in an address. */
export function changed(list, values) {
  const found = {};
  for (const field of list) {
    const text = values[field.name] ?? "";
    if (text !== "" && text !== shown(field, field.initial)) found[field.name] = text;
  }
  return found;
}
