/** A request whose body is large: it says how much of it has been sent, which `fetch` cannot. */
import { reachable } from "./api.js";
import { Problem } from "./problem.js";
import { key } from "./session.js";

const BETWEEN_WORDS = 100;

/**
 * @param {string} path
 * @param {{body: FormData | string, headers?: object, signal?: AbortSignal, onSent?: (share: number) => void}} options
 * @returns {Promise<any>} what is answered in JSON
 * @throws {Problem} the request is refused, or there is no answer
 */
export function upload(path, { body, headers = {}, signal, onSent = () => {} }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    let said = 0;
    request.open("POST", path);
    const secret = key.get();
    const all = secret ? { Authorization: `Bearer ${secret}`, ...headers } : headers;
    for (const [name, value] of Object.entries(all)) request.setRequestHeader(name, value);
    request.upload.onprogress = ({ loaded, total }) => {
      if (loaded < total && Date.now() - said < BETWEEN_WORDS) return;
      said = Date.now();
      onSent(total ? loaded / total : 1);
    };
    request.onload = () => {
      reachable.set(true);
      const { status, responseText: text } = request;
      if (status >= 300) return reject(Problem.of(new Response(null, { status, headers: retryAfter(request) }), text));
      try {
        return resolve(JSON.parse(text));
      } catch {
        return reject(Problem.gone());
      }
    };
    request.onerror = () => {
      reachable.set(false);
      reject(Problem.gone());
    };
    request.onabort = () => reject(new DOMException("The upload was given up.", "AbortError"));
    signal?.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}

function retryAfter(request) {
  const value = request.getResponseHeader("Retry-After");
  return value ? { "Retry-After": value } : {};
}
