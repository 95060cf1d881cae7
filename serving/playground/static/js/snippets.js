/** The same request as a command and as a program. */

/** Files of a campaign that are named. */
const FILES = 30;

const quote = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;
// Of a form's files, curl would take what is behind ; for a type and what is behind , for another file.
const file = (name) => `"${String(name).replace(/["\\]/g, "\\$&")}"`;
const python = (value) => JSON.stringify(String(value));

function literal(value) {
  if (/^-?[0-9.]+$/.test(value)) return value;
  return { true: "True", false: "False" }[value] || python(value);
}

/** An attack's options, in the order in which people say them. */
export function query({ attack, defence, label, parameters, trace }) {
  const search = new URLSearchParams({ attack, ...parameters });
  if (defence) search.set("defence", defence);
  if (label) search.set("label", label);
  if (trace) search.set("trace", trace);
  // A slash is as good as %2F there, and 8/255 is what people read.
  return search.toString().replaceAll("%2F", "/");
}

const ask = (secured) => (secured ? ` \\\n  -H "Authorization: Bearer $HOLDFAST_API_KEY"` : "");

export function curl(request, { image, address, secured }) {
  return (
    `curl -s --data-binary ${quote(`@${image.name}`)} -H 'Content-Type: ${image.blob.type || "image/png"}'` +
    `${ask(secured)} \\\n  -H 'Accept: image/png' -o adversarial.png \\\n  ` +
    quote(`${address}/v1/models/${request.model}${request.version ? `/versions/${request.version}` : ""}/attack?${query({ ...request, trace: 0 })}`)
  );
}

/** A campaign; of many files, the first few are named. */
export function campaignCurl(request, names, { address, secured }) {
  const body = JSON.stringify(request);
  const target = `${ask(secured)} \\\n  ${quote(`${address}/v1/jobs`)}`;
  if (request.dataset) return `curl -s -H 'Content-Type: application/json' -d ${quote(body)}${target}`;
  const files = names.slice(0, FILES).map((name) => ` \\\n  -F ${quote(`images=@${file(name)}`)}`);
  if (names.length > FILES) files.push(` \\\n  -F ${quote(`images=@${file("…")}`)}`);
  return `curl -s --form-string ${quote(`campaign=${body}`)}${files.join("")}${target}`;
}

export function sdk(request, { image, address }) {
  const options = [`${python(image.name)}, ${python(request.attack)}`, `model=${python(request.model)}`];
  if (request.version) options.push(`version=${python(request.version)}`);
  if (request.defence) options.push(`defence=${python(request.defence)}`);
  if (request.label) options.push(`label=${python(request.label)}`);
  for (const [name, value] of Object.entries(request.parameters)) {
    options.push(`${name}=${literal(value)}`);
  }
  return `from holdfast_client import Holdfast

# The key, where one is needed, is read from HOLDFAST_API_KEY.
with Holdfast(${python(address)}) as client:
    attack = client.attack(${options.join(", ")})
    print(attack.outcome, attack.before.label, "->", attack.after.label)
    attack.adversarial.save("adversarial.png")
`;
}

/** What the gateway tells of a version of a model. */
export const describe = (model, { address, secured }) =>
  `curl -s${ask(secured)} ${quote(`${address}/v1/models/${model.name}/versions/${model.version}`)}`;
