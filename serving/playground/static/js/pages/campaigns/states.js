/** How a job is, in a word, a bar and a sentence. */
import { classes, html } from "../../dom.js";
import { count, duration } from "../../format.js";

export const STATES = ["queued", "running", "succeeded", "failed", "cancelled"];

export const finished = (job) => !["queued", "running"].includes(job.state);

const TONES = { succeeded: "held", failed: "fooled", running: "running" };

export const StateTag = ({ state }) => html`<span class=${classes("tag", "state", TONES[state])}>${state}</span>`;

export const JobBar = ({ job }) => html`
  <progress max=${job.progress.total} value=${job.state === "running" && !job.progress.done ? undefined : job.progress.done} aria-label="Progress of ${titleOf(job)}"></progress>
`;

export const titleOf = (job) => job.name || `Campaign ${job.id.slice(0, 8)}`;

/** What is left, or what it took. */
export function timing(job) {
  const { eta_seconds: left } = job.progress;
  if (job.state === "running" && left !== null) return left < 1 ? "almost done" : `about ${duration(left)} left`;
  if (job.state === "running") return "just begun";
  if (job.state === "queued") return "waiting";
  if (!job.started || !job.finished) return "";
  return `took ${duration((Date.parse(job.finished) - Date.parse(job.started)) / 1000)}`;
}

/** `137 of 300 (20 images × 15 runs)`: a job counts images times runs. */
export function doneOf({ progress: { done, total }, images }) {
  const runs = images ? Math.round(total / images) : 0;
  const what = `${count(images, "image")} × ${count(runs, "run")}`;
  return done === total ? what : `${done.toLocaleString("en")} of ${total.toLocaleString("en")} (${what})`;
}
