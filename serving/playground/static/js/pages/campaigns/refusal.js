/** What a refused campaign lacks, put to the place in the form that can mend it. */

const PARAMETER = /^body attacks\[(\d+)\]\.parameters\.(\w+)/;

/**
 * @param {import("../../problem.js").Problem | null} problem
 * @param {{entry: number}[]} expanded which entry of the form each attack of the request came of
 * @returns {{entries: Record<number, Record<string, string>>, files: Record<string, string>, labels: string}}
 */
export function placed(problem, expanded) {
  const found = { entries: {}, files: {}, labels: "" };
  if (!problem) return found;
  for (const { where, message } of problem.document.errors || []) {
    const [, place, name] = PARAMETER.exec(where) || [];
    const entry = expanded[place]?.entry;
    if (entry !== undefined) (found.entries[entry] ??= {})[name] = message;
  }
  for (const { detail } of problem.document.images || []) {
    const [name, ...rest] = detail.split(": ");
    found.files[name] = rest.join(": ");
  }
  if (problem.detail.startsWith("labels: ")) found.labels = problem.detail.slice("labels: ".length);
  return found;
}
