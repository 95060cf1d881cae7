/** A job as it is now: asked for once, then kept up to date by its events until it has ended. */
import { at, events, json } from "../../api.js";
import { useEffect, useRef, useState } from "../../dom.js";
import { key } from "../../session.js";
import { useAtom, useBack } from "../../store.js";
import { finished } from "./states.js";

/** Milliseconds: between two looks at the job; after which it is looked at without an event; until a stream is tried again. */
const BETWEEN_LOOKS = 1000;
const WITHOUT_EVENT = 10_000;
const AGAIN = 2000;

/** Of these there is no use in asking again and again. */
const FINAL = ["unknown-job", "unauthenticated", "missing-scope"];

/** @returns {{job?: any, problem?: any, stale: boolean, reload: () => void}} `stale`: the server has gone since */
export function useJob(id) {
  const [state, setState] = useState({ job: undefined, problem: undefined, stale: false });
  const [turn, setTurn] = useState(0);
  const reload = () => setTurn((before) => before + 1);
  const secret = useAtom(key);
  const last = useRef("");
  useBack(reload);
  useEffect(() => {
    const controller = new AbortController();
    follow(id, last, controller.signal, setState);
    return () => controller.abort();
  }, [id, secret, turn]);
  return { ...state, reload };
}

async function follow(id, last, signal, setState) {
  const path = at("v1", "jobs", id);
  let over = false;
  async function look() {
    const job = await json(path, { signal });
    if (signal.aborted) return;
    over = finished(job);
    setState({ job, problem: undefined, stale: false });
  }
  const looks = throttled(look, (problem) => {
    if (!signal.aborted) setState((before) => (before.job && !FINAL.includes(problem.kind) ? { ...before, stale: true } : { ...before, problem }));
    return FINAL.includes(problem.kind);
  });
  // What only time tells (what is left, why nothing happens) has no event.
  const timer = setInterval(() => document.hidden || looks.soon(), WITHOUT_EVENT);
  signal.addEventListener("abort", () => {
    clearInterval(timer);
    looks.stop();
  });
  let refused = await looks.now();
  while (!over && !refused && !signal.aborted) {
    try {
      const headers = last.current ? { "Last-Event-ID": last.current } : {};
      await events(`${path}/events`, { headers, signal }, (event) => {
        last.current = event.id || last.current;
        looks.soon();
      });
    } catch (problem) {
      refused = FINAL.includes(problem.kind);
    }
    // It ended with the job, or broke off: the job itself says which.
    if (!signal.aborted) refused = (await looks.now()) || refused;
    if (!over && !refused && !signal.aborted) await wait(AGAIN, signal);
  }
  clearInterval(timer);
  looks.stop();
}

/** Have something done at once, or soon; however often that is wanted, it is done once in a while. */
function throttled(action, failed) {
  let timer;
  let before = 0;
  let stopped = false;
  async function now() {
    clearTimeout(timer);
    timer = undefined;
    before = Date.now();
    try {
      await action();
      return false;
    } catch (problem) {
      return failed(problem);
    }
  }
  return {
    now,
    soon() {
      if (!stopped) timer ??= setTimeout(now, Math.max(0, before + BETWEEN_LOOKS - Date.now()));
    },
    stop() {
      stopped = true;
      clearTimeout(timer);
    },
  };
}

const wait = (ms, signal) =>
  new Promise((resolve) => {
    setTimeout(resolve, ms);
    signal.addEventListener("abort", resolve);
  });
