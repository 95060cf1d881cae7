/** Series of a report, for plots. */

/** Bars in a plot, at most. */
const MOST = 60;

/**
 * Steps put together to bars, which begin at whole multiples of their length, so that they stay what they are.
 *
 * @param {Record<string, any>} report
 * @param {number[][]} series of one length, a series for each kind
 * @returns {number[][]} bars, in each a number for each kind
 */
export function bars(report, series) {
  const together = Math.max(1, Math.ceil(report.steps / MOST));
  const first = Math.round(Date.parse(report.begin) / 1000 / report.step_s);
  const found = [];
  for (let i = 0; i < report.steps; i += 1) {
    if (!found.length || (first + i) % together === 0) found.push(series.map(() => 0));
    series.forEach((one, kind) => (found.at(-1)[kind] += one[i]));
  }
  return found;
}

export const barSeconds = (report) => report.step_s * Math.max(1, Math.ceil(report.steps / MOST));

/** A series as points of a line, in minutes before now; steps of which nothing is known are left out. */
export const points = (report, series) =>
  series
    .map((value, i) => [((i - report.steps + 1) * report.step_s) / 60, value])
    .filter(([, value]) => value !== null);

/** From the first step to the last, in minutes before now. */
export const range = (report) => [((1 - report.steps) * report.step_s) / 60, 0];

export const most = (series) => series.reduce((large, value) => Math.max(large, value), 0);
