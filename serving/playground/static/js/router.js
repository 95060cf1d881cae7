/** Where in the page the visitor is: `#/models/pgd-at-cifar10?version=1`. */
import { atom } from "./store.js";

function read() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  return {
    parts: path.split("/").filter(Boolean).map(decodeURIComponent),
    query: new URLSearchParams(query),
  };
}

export const route = atom(read());
addEventListener("hashchange", () => route.set(read()));

/** The address of a place in the page. */
export function link(parts, query = {}) {
  const search = new URLSearchParams(Object.entries(query).filter(([, value]) => value));
  return `#/${parts.map(encodeURIComponent).join("/")}${search.size ? `?${search}` : ""}`;
}

/** Go there; in place of where one is, if that is not worth coming back to. */
export function go(parts, query, { replace = false } = {}) {
  if (replace) {
    history.replaceState(null, "", link(parts, query));
    route.set(read());
  } else location.hash = link(parts, query);
}
