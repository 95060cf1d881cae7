/** The server was gone, and is back. */
import { useEffect, useRef } from "./dom.js";

/** What is to be done then. */
export function useBack(action) {
  const latest = useRef(action);
  latest.current = action;
  useEffect(() => {
    const back = () => latest.current();
    addEventListener("holdfast:back", back);
    return () => removeEventListener("holdfast:back", back);
  }, []);
}
