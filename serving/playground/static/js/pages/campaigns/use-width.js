/** How wide an element is, for what is drawn in it. */
import { useLayoutEffect, useRef, useState } from "../../dom.js";

/** @param {number} first until it is known @returns {[any, number]} */
export function useWidth(first) {
  const element = useRef(null);
  const [width, setWidth] = useState(first);
  useLayoutEffect(() => {
    if (!element.current) return undefined;
    const observer = new ResizeObserver(([entry]) => setWidth(Math.max(240, Math.round(entry.contentRect.width))));
    observer.observe(element.current);
    return () => observer.disconnect();
  }, []);
  return [element, width];
}
