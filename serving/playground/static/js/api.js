/** Requests to the gateway: the key, problems, and events. */
import { atom } from "./store.js";
import { Problem } from "./problem.js";
import { key } from "./session.js";

/** Whether the server answered the last time it was asked. */
export const reachable = atom(true);

/**
 * A request; its response, if that is a success.
 *
 * @param {string | URL} path
 * @param {RequestInit} options its headers as an object
 * @throws {Problem} it is none, or there is none
 */
export async function send(path, { headers = {}, ...options } = {}) {
  const secret = key.get();
  let response;
  try {
    response = await fetch(path, {
      ...options,
      headers: secret ? { Authorization: `Bearer ${secret}`, ...headers } : headers,
    });
  } catch (error) {
    throw lost(error);
  }
  reachable.set(true);
  if (!response.ok && response.status !== 304) throw Problem.of(response, await response.text());
  return response;
}

/** What a request answers in JSON. @throws {Problem} */
export async function json(path, options) {
  const response = await send(path, options);
  try {
    return await response.json();
  } catch (error) {
    throw lost(error);
  }
}

/**
 * What a request answers in JSON, and its entity tag; nothing if that is the tag that is known already.
 *
 * @param {string} path @param {string} etag @param {RequestInit} options
 * @returns {Promise<{data: any, etag: string} | null>}
 */
export async function ifChanged(path, etag, options) {
  const response = await send(path, { ...options, headers: etag ? { "If-None-Match": etag } : {} });
  if (response.status === 304) return null;
  return { data: await response.json(), etag: response.headers.get("ETag") || "" };
}

/**
 * Follow the events that a request answers with, to their end.
 *
 * @param {string} path
 * @param {RequestInit} options
 * @param {(event: {kind: string, id: string, data: any}) => void} heard
 * @throws {Problem} the request fails, or the stream breaks off
 */
export async function events(path, options, heard) {
  const response = await send(path, {
    ...options,
    headers: { Accept: "text/event-stream, application/json;q=0.5", ...options.headers },
  });
  if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) {
    heard({ kind: "result", id: "", data: await response.json() });
    return;
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const event = parse(block);
        if (event) heard(event);
      }
    }
  } catch (error) {
    throw error instanceof Problem ? error : lost(error);
  }
}

function parse(block) {
  const event = { kind: "message", id: "", data: "" };
  for (const line of block.split("\n")) {
    const [, field, value] = /^(\w+): ?(.*)$/.exec(line) || [];
    if (field === "event") event.kind = value;
    else if (field === "id") event.id = value;
    else if (field === "data") event.data += value;
  }
  return event.data ? { ...event, data: JSON.parse(event.data) } : null;
}

/** What an error of the network is; one that we asked for ourselves stays what it is. */
function lost(error) {
  if (error.name === "AbortError") return error;
  reachable.set(false);
  return Problem.gone();
}

/** Wait for the server to be there again: `gone`, `loading` or `ready`. */
export async function state() {
  try {
    const response = await fetch("/readyz", { cache: "no-store" });
    reachable.set(true);
    return response.ok ? "ready" : "loading";
  } catch {
    reachable.set(false);
    return "gone";
  }
}

export const at = (...parts) => `/${parts.map(encodeURIComponent).join("/")}`;
