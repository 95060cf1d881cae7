/** The models that are served, and the attacks that there are: asked once, and again after a new key. */
import { at, json } from "./api.js";
import { useAtom, useLoaded } from "./store.js";
import { key } from "./session.js";

/** @returns {{data?: {default: string, models: object[]}, error?: Error, loading: boolean, reload: () => void}} */
export const useModels = () => useLoaded((signal) => json("/v1/models", { signal }), [useAtom(key)]);

export const useAttacks = () => useLoaded((signal) => json("/v1/attacks", { signal }), [useAtom(key)]);

/** One model, in full; nothing while none is named. */
export const useModel = (name, version) =>
  useLoaded(
    (signal) => (name ? json(at("v1", "models", name, ...(version ? ["versions", version] : [])), { signal }) : Promise.resolve(undefined)),
    [name, version, useAtom(key)],
  );

export const DEFENCES = {
  none: { name: "No defence", says: "The network as it is." },
  imt: { name: "IMT", says: "The image is first moved towards the manifold of natural images." },
  "imt+": { name: "IMT+", says: "As IMT; half as far where the discriminator is in doubt." },
};

/** What people call a defence; `all` is of worst cases over every one of a model's. */
export const defenceName = (defence) => DEFENCES[defence]?.name || (defence === "all" ? "Every one of them" : defence);
