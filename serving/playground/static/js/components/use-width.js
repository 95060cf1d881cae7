/** How wide an element is, for what is drawn in it. */
import { useLayoutEffect, useState } from "../dom.js";

/** @param {number} first until it is known @returns {[(element: any) => void, number]} the element's `ref`, and its width */
export function useWidth(first) {
  const [element, setElement] = useState(null);
  const [width, setWidth] = useState(first);
  useLayoutEffect(() => {
    if (!element) return undefined;
    const observer = new ResizeObserver(([entry]) => setWidth(Math.max(240, Math.round(entry.contentRect.width))));
    observer.observe(element);
    return () => observer.disconnect();
  }, [element]);
  return [setElement, width];
}
