// The jobs asked for from this browser, in its local storage only.

import { find, make, radiusText } from "./dom.js";
import { ENDED } from "./watch.js";

const KEY = "smoothcert.jobs";
const MOST = 30;

function read() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) || [];
  } catch {
    return [];
  }
}

function write(entries) {
  try {
    localStorage.setItem(KEY, JSON.stringify(entries.slice(0, MOST)));
  } catch {
    // private windows may refuse: the page works without a history
  }
}

/** Adds a job or brings its entry up to date. */
export function remember(job, name) {
  const entries = read();
  const known = entries.find((entry) => entry.id === job.id);
  const certificate = job.certificate;
  const entry = {
    ...(known || { name }),
    id: job.id,
    links: job.links,
    model: job.model,
    status: job.status,
    created: job.created_at,
    outcome: certificate && certificate.outcome,
    label: certificate && (certificate.label ?? String(certificate.predicted_class)),
    radius: certificate && certificate.radius,
  };
  write(known ? entries.map((other) => (other.id === job.id ? entry : other)) : [entry, ...entries]);
}

/** Takes out a job the service has forgotten. */
export function drop(id) {
  write(read().filter((entry) => entry.id !== id));
}

export const unfinished = () => read().find((entry) => !ENDED.has(entry.status));
export const entryOf = (id) => read().find((entry) => entry.id === id);

function outcomeText(entry) {
  if (entry.outcome === "certified") return entry.radius > 0 ? `${entry.label}, radius ${radiusText(entry.radius)}` : entry.label;
  return entry.outcome === "abstained" ? "abstained" : entry.status;
}

function row(entry, open) {
  const picture = make("img", { src: entry.links.input, alt: "", loading: "lazy" });
  picture.addEventListener("error", () => picture.replaceWith(make("span", { class: "blank" })));
  const when = new Date(entry.created).toLocaleString();
  const button = make(
    "button",
    { type: "button" },
    picture,
    make("span", {}, entry.name || "picture", make("small", {}, `${entry.model}, ${when}`)),
    make("span", { class: "outcome" }, outcomeText(entry)),
  );
  button.addEventListener("click", () => open(entry));
  return make("li", {}, button);
}

/** Draws the list; `open(entry)` shows a job again. */
export function showHistory(open) {
  const entries = read();
  find("history").replaceChildren(...entries.map((entry) => row(entry, open)));
  find("no-history").hidden = entries.length > 0;
  find("forget").hidden = entries.length === 0;
}

export function forgetAll() {
  write([]);
}
