// A job as a person reads it: the verdict, what it means, how far it is, the votes and the evidence.

import { confidence, find, make, percent, radiusText, whole } from "./dom.js";
import { duration } from "./models.js";
import { growthPlot } from "./plot.js";
import { showPictures } from "./pictures.js";
import { ENDED } from "./watch.js";

const MOST_BARS = 10;
let shown = null; // id of the job on the page
let steps = []; // {samples, radius} as they came in
let pictured = ""; // what the pictures were made from

/** Clears what was shown of another job and shows this one. `card` is its model's, if it is still served. */
export function showJob(job, card) {
  if (shown !== job.id) start(job.id);
  const seen = view(job, card);
  find("answer").dataset.status = job.status;
  showVerdict(seen);
  showProgress(seen);
  showVotes(seen);
  showGrowth(seen);
  showFiles(seen);
  announce(seen);
  const key = `${job.id} ${seen.ended} ${seen.ended && seen.radius}`;
  if (key !== pictured) {
    pictured = key;
    showPictures(find("pictures"), job.links.input, job.parameters.sigma, seen.ended ? seen.radius : 0);
  }
}

function start(id) {
  shown = id;
  steps = [];
  find("idle").hidden = true;
  find("result").hidden = false;
  find("pictures").replaceChildren();
  find("evidence").open = false;
}

function view(job, card) {
  const certificate = job.certificate;
  const labels = card ? card.labels : [];
  const label = (k) => (k === null || k === undefined ? null : labels[k] ?? `class ${k}`);
  const ended = ENDED.has(job.status);
  return {
    job,
    certificate,
    label,
    ended,
    predict: job.parameters.procedure === "predict",
    name: certificate ? certificate.label ?? label(certificate.predicted_class) : label(job.progress.predicted_class),
    radius: certificate ? certificate.radius : job.progress.radius,
    counts: certificate ? certificate.counts : job.progress.counts,
    samples: certificate ? certificate.n : job.progress.samples,
    speed: card && card.votes_per_second,
  };
}

function showVerdict(seen) {
  find("verdict").replaceChildren(...verdict(seen));
  find("explanation").textContent = explanation(seen);
}

const big = (what, text, kind) => make("span", {}, make("small", {}, what), make("strong", { class: kind }, text));

function verdict({ job, certificate, ended, predict, name, radius }) {
  if (job.status === "failed") return [big("the job", "failed", "failed")];
  if (certificate && certificate.outcome === "abstained") return [big("the answer", "abstained", "abstained")];
  if (ended && !certificate) return [big("the job", "stopped", "abstained")];
  const kind = certificate ? "certified" : "";
  const parts = name === null ? [] : [big("class", name, kind)];
  if (!predict && radius > 0) parts.push(big(ended ? "certified radius" : "radius proved so far", radiusText(radius), kind));
  return parts.length ? parts : [big("the job", job.status, "")];
}

function explanation(seen) {
  const { job, certificate } = seen;
  if (job.status === "failed") return job.error ? job.error.detail : "The worker could not finish this job.";
  if (!certificate) return seen.ended ? "Stopped before anything was proved." : waiting(seen);
  const early = certificate.ended_by === "deadline" ? `Its deadline of ${certificate.deadline} s ended it after ${whole(certificate.drawn)} votes; what was proved by then holds. ` : job.status === "cancelled" ? `Stopped after ${whole(certificate.n)} votes; what was proved by then holds. ` : "";
  if (certificate.outcome === "abstained") return early + abstention(seen);
  return early + (seen.predict ? prediction(seen) : guarantee(seen)) + askedBefore(certificate);
}

/** A caller who asks until it certifies errs more often: the failure probabilities of all answers add up. */
function askedBefore({ asked_before: times, alpha }) {
  if (!times) return "";
  const nearest = Number(((times + 1) * alpha).toPrecision(6));
  const risk = Math.min(1, nearest < (times + 1) * alpha * (1 - 1e-12) ? (times + 1) * alpha : nearest);
  return ` The service was asked ${times === 1 ? "once" : `${whole(times)} times`} before about these pixels with this model: ` +
    `any of these ${whole(times + 1)} answers is wrong with probability at most ${risk}.`;
}

function waiting({ job }) {
  if (job.status === "running") return job.progress.radius ? "This radius holds already; more votes can only raise it." : "The first votes are being counted.";
  const ahead = job.queue_position;
  return ahead ? `Waiting: ${whole(ahead)} ${ahead === 1 ? "job is" : "jobs are"} ahead of this one.` : "Waiting for a worker: just after a start it loads its model first.";
}

function guarantee({ certificate, name, radius }) {
  const { pixels, linf_levels: levels } = certificate.implied || { pixels: 0, linf_levels: 0 };
  const within = [];
  if (levels > 0) within.push(`shifting every value by up to ${levels} of 255 levels`);
  if (pixels > 0) within.push(`turning any ${pixels === 1 ? "one pixel" : `${pixels} pixels`} from black to white`);
  const like = within.length ? ` That covers, for example, ${within.join(", or ")}.` : "";
  return `With at least ${confidence(certificate.alpha)} confidence, no change of these pixels with an ℓ2 size below ` +
    `${radiusText(radius)} can turn the answer “${name}” into another.${like}`;
}

function prediction({ certificate, name }) {
  return `With at least ${confidence(certificate.alpha)} confidence the smoothed classifier says “${name}” of these ` +
    "pixels. This procedure proves no radius.";
}

function abstention({ certificate, counts, label }) {
  const most = Math.max(...counts);
  const share = percent(most / Math.max(1, certificate.n));
  return `The votes were too divided to prove anything at α = ${certificate.alpha}: the largest share, ${share}, went to ` +
    `“${label(counts.indexOf(most))}”. Abstaining is an answer, not a failure: near this picture the classifier could be ` +
    "talked into something else. More votes, or a model with another σ, may settle it.";
}

let pace = null; // the first look at this job: {id, samples, at}

function showProgress({ job, ended, speed }) {
  find("running").hidden = ended;
  const { samples, of } = job.progress;
  find("progress").max = of;
  find("progress").value = samples;
  find("progress-text").textContent = `${whole(samples)} of ${whole(of)} votes${timeLeft(job, ended, speed)}`;
  const text = expectation(job.progress.forecast);
  find("expected").hidden = !text;
  find("expected").textContent = text;
}

/** Estimated from the first votes; what is proved stands in the verdict. */
function expectation(forecast) {
  if (!forecast) return "";
  const work = `${whole(forecast.votes)} votes, ${duration(forecast.seconds)} in all`;
  if (forecast.radius === null) return `Expected, not proved: ${work}.`;
  const outcome = forecast.radius > 0 ? `about radius ${forecast.radius.toFixed(2)}` : "an abstention";
  return `Expected, not proved: ${outcome} with ${work}.`;
}

/** By the pace of this job's own votes; before the first ones, by the model's usual speed. */
function timeLeft({ id, status, progress, parameters, started_at: started }, ended, speed) {
  if (ended || status !== "running") return "";
  const elapsed = (Date.now() - new Date(started).getTime()) / 1000;
  const now = { id, samples: progress.samples, at: performance.now() };
  if (!pace || pace.id !== id) pace = now;
  const drawn = now.samples - pace.samples;
  const rate = drawn > 0 ? (1000 * drawn) / (now.at - pace.at) : elapsed > 1 && now.samples ? now.samples / elapsed : speed;
  const untilDeadline = parameters.deadline ? Math.max(0, parameters.deadline - elapsed) : Infinity;
  return rate > 0 ? `, ${duration(Math.min((progress.of - progress.samples) / rate, untilDeadline))} left at most` : "";
}

function showVotes({ counts, samples, label }) {
  const list = find("votes");
  list.hidden = find("votes-title").hidden = !counts;
  if (!counts) return;
  const top = counts.indexOf(Math.max(...counts));
  const order = counts.map((count, k) => [k, count]);
  const few = counts.length <= MOST_BARS ? order : order.sort((a, b) => b[1] - a[1]).slice(0, MOST_BARS);
  list.replaceChildren(...few.map(([k, count]) => bar(label(k), count, samples, k === top)));
}

function bar(name, count, total, top) {
  const fill = make("span", { class: "bar" });
  fill.style.width = `${(100 * count) / Math.max(1, total)}%`;
  return make(
    "li",
    { class: top ? "top" : "" },
    make("span", {}, name),
    make("span", { class: "track", "aria-hidden": "true" }, fill),
    make("span", {}, whole(count)),
  );
}

function showGrowth({ job, radius, samples, predict }) {
  const last = steps.at(-1);
  if (radius > 0 && samples > 0 && !(last && last.samples >= samples)) steps.push({ samples, radius });
  const figure = find("growth");
  figure.hidden = predict || steps.length < 2;
  if (figure.hidden) return;
  figure.querySelector("svg")?.remove();
  figure.prepend(growthPlot(steps, job.progress.of));
}

function showFiles({ job, certificate, ended }) {
  find("downloads").hidden = !ended;
  find("certificate").hidden = find("evidence").hidden = !certificate;
  find("certificate").href = job.links.certificate;
  find("input").href = job.links.input;
  find("record").href = job.links.self;
  if (certificate) find("figures").replaceChildren(...evidence(certificate).flatMap(([what, value]) => [make("dt", {}, what), make("dd", {}, value)]));
}

function evidence(c) {
  return [
    ["procedure, bound", `${c.procedure}, ${c.bound.replace("_", "-")}`],
    ["votes", `${whole(c.n)}${c.drawn > c.n ? ` of ${whole(c.drawn)} drawn` : ""}, after ${whole(c.n0)} that chose the class`],
    ["σ, α", `${c.sigma}, ${c.alpha}`],
    ["p lower, p upper", `${c.p_lower}, ${c.p_upper}`],
    ["model", `${c.model.name}, sha256 ${c.model.sha256}`],
    ["pixels", `${c.input.shape.join(" × ")}, sha256 ${c.input.sha256}`],
    ["what was done to the file", c.input.preprocessing.join("; ") || "nothing"],
    ["engine", [c.engine.device, c.engine.backend, c.engine.precision, `batches of ${c.engine.batch}`].join(", ")],
    ["seed of the votes", c.seed],
    ["asked before", c.asked_before === null || c.asked_before === undefined ? "not counted" : `${whole(c.asked_before)} times, these pixels with this model and σ`],
    ["issued", new Date(c.issued_at).toLocaleString()],
  ];
}

let announced = "";

/** What a screen reader hears: the start, each quarter, the end. */
function announce(seen) {
  const { job, ended } = seen;
  const quarter = Math.floor((4 * job.progress.samples) / job.progress.of);
  const key = `${job.id} ${job.status} ${ended ? "" : quarter}`;
  if (key === announced) return;
  announced = key;
  const parts = verdict(seen).map((part) => [...part.children].map((child) => child.textContent).join(" "));
  find("announce").textContent = ended ? `${parts.join(", ")}. ${explanation(seen)}` : `${job.status}, ${25 * quarter} % of the votes. ${parts.join(", ")}`;
}
