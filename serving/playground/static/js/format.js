/** Numbers as people read them. */

export const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)} %`;

/** A budget of L∞ in 255ths where it is one, otherwise as it is: `8/255`, `0.05`. */
export function budget(epsilon, norm = "linf") {
  if (epsilon === null || epsilon === undefined) return "none";
  if (norm !== "linf") return number(epsilon);
  const steps = epsilon * 255;
  return `${Math.abs(steps - Math.round(steps)) < 0.005 ? Math.round(steps) : Number(steps.toFixed(2))}/255`;
}

/** Four significant digits at most. */
export const number = (value) => Number(Number(value).toPrecision(4)).toLocaleString("en", { maximumFractionDigits: 6 });

export const NORMS = { linf: "L∞", l2: "L2" };

/** `0.4 s`, `12 s`, `3 min 5 s`, `2 h 4 min`. */
export function duration(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Milliseconds: `3.4 ms`, `120 ms`, `2.1 s`. */
export const latency = (ms) => (ms >= 1000 ? `${(ms / 1000).toFixed(1)} s` : `${ms >= 10 ? Math.round(ms) : ms.toFixed(1)} ms`);

export function when(date) {
  return new Date(date).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
}

const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
/** @type {[Intl.RelativeTimeFormatUnit, number][]} */
const UNITS = [["day", 86_400], ["hour", 3600], ["minute", 60]];

/** `just now`, `3 minutes ago`, `yesterday`. */
export function ago(date, now = Date.now()) {
  const seconds = (new Date(date).getTime() - now) / 1000;
  const [unit, size] = UNITS.find(([, each]) => -seconds >= each) || [];
  return unit ? RELATIVE.format(Math.round(seconds / size), unit) : "just now";
}

/** @type {[string, number][]} */
const SIZES = [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]];

/** `3.1 MB`. */
export function bytes(many) {
  const [unit, size] = SIZES.find(([, each]) => many >= each) || ["bytes", 1];
  return `${(many / size).toFixed(size > 1e3 ? 1 : 0)} ${unit}`;
}

/** `1 image`, `3 images`. */
export const count = (many, one, more = `${one}s`) => `${many.toLocaleString("en")} ${many === 1 ? one : more}`;

/** A parameter's name in words: `step_size` is Step size. */
export function words(name) {
  const spaced = name.replaceAll("_", " ");
  return spaced[0].toUpperCase() + spaced.slice(1);
}
