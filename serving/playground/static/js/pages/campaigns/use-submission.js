/** Sending a campaign: once, however often it has to be tried. */
import { useEffect, useRef, useState } from "../../dom.js";
import { upload } from "../../upload.js";

const IDLE = { sending: false, sent: 0, problem: null };

/** @param {(job: any) => void} done */
export function useSubmission(done) {
  const [state, setState] = useState(IDLE);
  const controller = useRef(null);
  // The key of what was sent last: the same again, after a connection that broke, is the same campaign.
  const last = useRef({ content: "", key: "" });
  useEffect(() => () => controller.current?.abort(), []);

  async function send(request, files) {
    const mine = (controller.current = new AbortController());
    const content = JSON.stringify([request, files.map(({ name, blob }) => [name, blob.size, blob.lastModified])]);
    if (last.current.content !== content) last.current = { content, key: randomKey() };
    setState({ ...IDLE, sending: true });
    try {
      const job = await upload("/v1/jobs", {
        ...bodyOf(request, files),
        signal: mine.signal,
        onSent: (sent) => setState((before) => ({ ...before, sent })),
      });
      last.current = { content: "", key: "" };
      setState(IDLE);
      done(job);
    } catch (problem) {
      if (mine.signal.aborted) setState(IDLE);
      else setState({ ...IDLE, problem });
    }
  }

  function bodyOf(request, files) {
    const headers = { "Idempotency-Key": last.current.key };
    if (request.dataset) {
      return { body: JSON.stringify(request), headers: { ...headers, "Content-Type": "application/json" } };
    }
    const body = new FormData();
    body.append("campaign", JSON.stringify(request));
    for (const { blob, name } of files) body.append("images", blob, name);
    return { body, headers };
  }

  return { ...state, send, stop: () => controller.current?.abort(), forget: () => setState(IDLE) };
}

/** Not every page may ask for a UUID: one that came without TLS from another machine may not. */
function randomKey() {
  const numbers = crypto.getRandomValues(new Uint32Array(4));
  return [...numbers].map((number) => number.toString(16).padStart(8, "0")).join("");
}
