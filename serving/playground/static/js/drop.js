/** What is dropped anywhere on the page, or pasted into it. */
import { useEffect, useRef, useState } from "./dom.js";

/**
 * @param {(transfer: DataTransfer, kind: "drop" | "paste") => void} take
 * @returns {boolean} whether files hover over the page
 */
export function useTransfer(take) {
  const [over, setOver] = useState(false);
  const latest = useRef(take);
  latest.current = take;
  useEffect(() => {
    const listeners = {
      dragover(event) {
        if (![...event.dataTransfer.types].includes("Files")) return;
        event.preventDefault();
        setOver(true);
      },
      dragleave: (event) => event.relatedTarget || setOver(false),
      drop(event) {
        event.preventDefault();
        setOver(false);
        latest.current(event.dataTransfer, "drop");
      },
      paste: (event) => latest.current(event.clipboardData, "paste"),
    };
    for (const [name, listener] of Object.entries(listeners)) addEventListener(name, listener);
    return () => {
      for (const [name, listener] of Object.entries(listeners)) removeEventListener(name, listener);
    };
  }, []);
  return over;
}
