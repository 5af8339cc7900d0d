// The HTTP interface. Every failure becomes a Mistake whose message a person can act on.

export class Mistake extends Error {
  constructor(problem) {
    super(problem.detail || problem.title || "The service does not answer.");
    this.status = problem.status;
    this.fields = problem.errors || [];
  }
}

// The second shows, whatever stands in between, that no other site's page sends this (service/origins.py).
const OURS = { Accept: "application/json", "X-Requested-With": "SmoothCert" };

async function call(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: { ...OURS, ...options.headers } });
  } catch {
    throw new Mistake({ status: 0, detail: "The service can’t be reached. Is it still running?" });
  }
  if (answer.ok) return answer.json();
  throw new Mistake(await answer.json().catch(() => ({ status: answer.status, title: answer.statusText })));
}

export const listModels = () => call("models");
export const readJob = (path) => call(path);
export const cancelJob = (job) => call(job.links.cancel, { method: "POST" });

/** Whether a certificate holds; `image` may be undefined. */
export function verify(certificate, image) {
  const body = new FormData();
  body.append("certificate", certificate, certificate.name || "certificate.json");
  if (image) body.append("image", image, image.name || "image.png");
  return call("verify", { method: "POST", body });
}

let unanswered = null; // {what, key}: asked, but nobody could say whether a job was made of it

/** Certifies `file`; `asked` are form fields. Asked again after no clear answer, it is still one job. */
export async function certify(file, asked) {
  const body = new FormData();
  body.append("image", file, file.name || "image.png");
  for (const [name, value] of Object.entries(asked)) if (value !== "") body.append(name, value);
  const what = JSON.stringify([file.name, file.size, asked]);
  if (unanswered?.what !== what) unanswered = { what, key: randomKey() };
  try {
    const job = await call("certify", { method: "POST", body, headers: { "Idempotency-Key": unanswered.key } });
    unanswered = null;
    return job;
  } catch (mistake) {
    if (mistake.status >= 400 && mistake.status < 500) unanswered = null; // no job was made
    throw mistake;
  }
}

function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
