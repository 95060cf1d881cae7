/** The gateway's last minutes, asked again every two seconds while somebody looks. */
import { ifChanged } from "../../api.js";
import { useEffect, useState } from "../../dom.js";
import { key } from "../../session.js";
import { useAtom } from "../../store.js";

const AGAIN = 2000;

/** What asking again does not mend: another key does. */
const FINAL = ["unauthenticated", "missing-scope", "not-found"];

/**
 * @param {number} minutes how far back
 * @param {boolean} paused
 * @returns {{report?: Record<string, any>, at?: number, looked?: number, error?: Record<string, any>, retry: () => void}} the
 *   last report, which stays when the server goes away; when it was received; when it was last found to be so
 */
export function useMonitor(minutes, paused) {
  const secret = useAtom(key);
  const [state, setState] = useState({ report: undefined, at: undefined, looked: undefined, error: undefined });
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    if (paused) return undefined;
    const controller = new AbortController();
    let timer;
    let etag = "";
    let asking = false;
    async function ask() {
      clearTimeout(timer);
      if (asking || document.visibilityState === "hidden") return;
      asking = true;
      const wait = await look();
      asking = false;
      if (wait && !controller.signal.aborted) timer = setTimeout(ask, wait);
    }
    /** How long to wait with the next look; 0 where there is to be none. */
    async function look() {
      try {
        const found = await ifChanged(`/v1/monitor?minutes=${minutes}`, etag, { signal: controller.signal });
        if (found) etag = found.etag;
        if (controller.signal.aborted) return 0;
        const now = Date.now();
        setState((before) => ({ report: found ? found.data : before.report, at: found ? now : before.at, looked: now, error: undefined }));
      } catch (error) {
        if (controller.signal.aborted) return 0;
        const final = FINAL.includes(error.kind);
        setState((before) => ({ ...before, ...(final && { report: undefined }), error }));
        return final ? 0 : Math.max(AGAIN, 1000 * (Number(error.document?.retryAfter) || 0));
      }
      return AGAIN;
    }
    // Who comes back to the tab sees what is now.
    document.addEventListener("visibilitychange", ask);
    ask();
    return () => {
      controller.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", ask);
    };
  }, [minutes, paused, secret, turn]);
  return { ...state, retry: () => setTurn((before) => before + 1) };
}
