/** What every component is made of: Preact's hooks, and `html`, which makes elements from template strings. */
import { Fragment, h, render } from "../vendor/preact.js";
import { useCallback, useEffect, useId, useLayoutEffect, useMemo, useRef, useState } from "../vendor/hooks.js";
import htm from "../vendor/htm.js";

export const html = htm.bind(h);
export { Fragment, render, useCallback, useEffect, useId, useLayoutEffect, useMemo, useRef, useState };

/** Class names that apply: `classes("card", busy && "busy")`. */
export const classes = (...names) => names.filter(Boolean).join(" ");
