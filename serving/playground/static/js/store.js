/** Values that several parts of the page share. */
import { useEffect, useRef, useState } from "./dom.js";

/** A value that tells whoever listens when it changes. */
export function atom(value) {
  const listeners = new Set();
  return {
    get: () => value,
    set(next) {
      if (Object.is(next, value)) return;
      value = next;
      for (const listener of [...listeners]) listener(value);
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/** An atom's value; the component is drawn again when it changes. */
export function useAtom(source) {
  const [value, setValue] = useState(source.get());
  useEffect(() => {
    setValue(source.get());
    return source.subscribe(setValue);
  }, [source]);
  return value;
}

/**
 * What a promise comes to: `{ data, error, loading, reload }`.
 *
 * `load(signal)` is called whenever one of `inputs` changes; an answer that comes too late is dropped. While a
 * newer one is on its way, the data stay as they are.
 */
export function useLoaded(load, inputs) {
  const [state, setState] = useState({ data: undefined, error: undefined, loading: true });
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const controller = new AbortController();
    setState((before) => ({ ...before, loading: true }));
    load(controller.signal).then(
      (data) => !controller.signal.aborted && setState({ data, error: undefined, loading: false }),
      (error) => !controller.signal.aborted && setState({ data: undefined, error, loading: false }),
    );
    return () => controller.abort();
  }, [...inputs, turn]);
  return { ...state, reload: () => setTurn((before) => before + 1) };
}

/** What is to be done when the server is back. */
export function useBack(action) {
  const latest = useRef(action);
  latest.current = action;
  useEffect(() => {
    const back = () => latest.current();
    addEventListener("holdfast:back", back);
    return () => removeEventListener("holdfast:back", back);
  }, []);
}
