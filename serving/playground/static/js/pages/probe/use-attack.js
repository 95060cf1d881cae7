/** The attack that runs, how far it is, what came of it, and those before it. */
import { at, events } from "../../api.js";
import { useEffect, useRef, useState } from "../../dom.js";
import { Problem } from "../../problem.js";
import { query } from "../../snippets.js";

const IDLE = { running: false, progress: null, answer: null, problem: null, request: null, image: null };

export function useAttack(model, image) {
  const [state, setState] = useState(IDLE);
  const [attempts, setAttempts] = useState([]);
  const controller = useRef(null);
  // What came of an attack on another image or model is not about this one.
  useEffect(() => {
    controller.current?.abort();
    setState(IDLE);
  }, [model.digest, image]);
  useEffect(() => () => controller.current?.abort(), []);

  async function start(request) {
    controller.current?.abort();
    const mine = (controller.current = new AbortController());
    const current = () => controller.current === mine && !mine.signal.aborted;
    setState({ ...IDLE, running: true, request, image });
    let ended = false;
    try {
      await events(
        `${at("v1", "models", model.name, "versions", model.version, "attack")}?${query({ ...request, trace: 64 })}&top_k=10`,
        { method: "POST", body: image.blob, headers: { "Content-Type": image.blob.type || "application/octet-stream" }, signal: mine.signal },
        ({ kind, data }) => {
          if (!current()) return;
          if (kind === "result") {
            ended = true;
            setState({ ...IDLE, answer: data, request, image });
            setAttempts((before) => [{ answer: data, image }, ...before].slice(0, 20));
          } else if (kind === "problem") throw Problem.from(data);
          else setState((before) => ({ ...before, progress: { kind, ...data } }));
        },
      );
      if (!ended && current()) throw Problem.gone();
    } catch (problem) {
      if (current()) setState({ ...IDLE, problem, request, image });
    }
  }

  function stop() {
    controller.current?.abort();
    setState((before) => ({ ...IDLE, request: before.request }));
  }

  return { ...state, attempts, start, stop };
}
