/** Of each model that judged images: the shares of natural images that its two thresholds are beyond. */
import { at, json } from "../../api.js";
import { key } from "../../session.js";
import { useAtom, useLoaded } from "../../store.js";
import { judged } from "./suspects.js";

export const nameOf = ({ model, version }) => `${model}/${version}`;

/**
 * @param {Record<string, any>[]} models of a report
 * @returns {Record<string, [number, number]>} by `name/version`; what is not known is not there
 */
export function useRates(models) {
  const names = [...new Set(models.filter((each) => judged(each.total)).map(nameOf))].sort().join(" ");
  const found = useLoaded((signal) => load(names, signal), [names, useAtom(key)]);
  return found.data || {};
}

async function load(names, signal) {
  const rates = {};
  await Promise.all(
    names
      .split(" ")
      .filter(Boolean)
      .map(async (name) => {
        const [model, version] = name.split("/");
        try {
          rates[name] = (await json(at("v1", "models", model, "versions", version), { signal })).manifold?.false_positive_rates;
        } catch {
          // A key may be for figures only, or the version be gone: then nothing is said of what is usual.
        }
      }),
  );
  return rates;
}
