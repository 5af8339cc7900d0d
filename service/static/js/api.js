// The HTTP interface. Every failure becomes a Mistake whose message a person can act on.

export class Mistake extends Error {
  constructor(problem) {
    super(problem.detail || problem.title || "The service does not answer.");
    this.status = problem.status;
    this.fields = problem.errors || [];
  }
}

async function call(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { headers: { Accept: "application/json" }, ...options });
  } catch {
    throw new Mistake({ status: 0, detail: "The service can’t be reached. Is it still running?" });
  }
  if (answer.ok) return answer.json();
  throw new Mistake(await answer.json().catch(() => ({ status: answer.status, title: answer.statusText })));
}

export const listModels = () => call("/models");
export const readJob = (path) => call(path);
export const cancelJob = (job) => call(job.links.cancel, { method: "POST" });

/** Certifies `file`; `asked` are form fields. Sending it twice by accident makes one job. */
export function certify(file, asked) {
  const body = new FormData();
  body.append("image", file, file.name || "image.png");
  for (const [name, value] of Object.entries(asked)) if (value !== "") body.append(name, value);
  return call("/certify", { method: "POST", body, headers: { "Idempotency-Key": randomKey() } });
}

function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
