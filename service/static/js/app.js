// The page: asks, follows, shows, remembers. The job on show is in the address, so a reload comes back to it.

import { showJob } from "./answer.js";
import { cancelJob, certify, listModels, readJob } from "./api.js";
import { asked, chosenPicture, prepareForm, showMistake, showModels, updateModels } from "./ask.js";
import { startChecking } from "./check.js";
import { find } from "./dom.js";
import { drop, entryOf, forgetAll, remember, showHistory, unfinished } from "./history.js";
import { ENDED, follow } from "./watch.js";

let cards = new Map();
let current = null; // the job on show
let stopFollowing = () => {};

function show(job, name) {
  current = job;
  showJob(job, cards.get(job.model));
  const before = entryOf(job.id);
  if (name || (before && before.status !== job.status)) {
    remember(job, name);
    showHistory(reopen);
  }
  if (ENDED.has(job.status)) listModels().then(updateModels, () => {}); // its model's speed may be known now
}

function take(job, name) {
  stopFollowing();
  history.replaceState(null, "", `#${job.id}`);
  find("share").href = location.href;
  find("shared").textContent = "";
  show(job, name);
  if (!ENDED.has(job.status)) stopFollowing = follow(job, (snapshot) => show(snapshot), trouble());
}

/** Says when the service stops answering, and takes back only that when it answers again. */
function trouble() {
  let lost = false;
  return (mistake) => {
    if (mistake || lost) showMistake(mistake);
    lost = Boolean(mistake);
  };
}

async function submit(event) {
  event.preventDefault();
  const button = find("go");
  button.disabled = true;
  showMistake(null);
  try {
    const picture = await chosenPicture();
    if (!picture) throw new Error("Choose a picture first.");
    take(await certify(picture.file, asked()), picture.name);
    bringIntoView();
  } catch (mistake) {
    showMistake(mistake);
  } finally {
    button.disabled = false;
  }
}

/** On a narrow screen the answer is far below the button. */
function bringIntoView() {
  const { top, bottom } = find("answer-title").getBoundingClientRect();
  if (top < 0 || bottom > window.innerHeight / 2) find("answer").scrollIntoView({ block: "start" });
}

async function cancel() {
  try {
    show(await cancelJob(current));
  } catch (mistake) {
    showMistake(mistake);
  }
}

/** The address of the job on show, for somebody else; where the clipboard may not be used it is a plain link. */
async function share(event) {
  event.preventDefault();
  try {
    await navigator.clipboard.writeText(find("share").href);
    find("shared").textContent = "Copied.";
  } catch {
    find("shared").textContent = find("share").href;
  }
}

async function reopen(entry) {
  showMistake(null);
  try {
    take(await readJob(entry.links.self), entry.name);
    bringIntoView();
  } catch (mistake) {
    if (mistake.status === 404) drop(entry.id);
    showHistory(reopen);
    showMistake(mistake);
  }
}

async function resume() {
  const id = location.hash.slice(1);
  const entry = id ? entryOf(id) || { id, links: { self: `jobs/${encodeURIComponent(id)}` } } : unfinished();
  if (entry) await reopen(entry);
}

/** A link to another job opens it without a reload. */
function followAddress() {
  if (location.hash.slice(1) && location.hash.slice(1) !== current?.id) resume();
}

async function start() {
  prepareForm();
  startChecking();
  showHistory(reopen);
  find("ask").addEventListener("submit", submit);
  find("cancel").addEventListener("click", cancel);
  find("share").addEventListener("click", share);
  find("forget").addEventListener("click", () => {
    forgetAll();
    showHistory(reopen);
  });
  try {
    const listed = await listModels();
    cards = new Map(listed.map((card) => [card.name, card]));
    showModels(listed);
  } catch (mistake) {
    showMistake(mistake);
  }
  await resume();
  window.addEventListener("hashchange", followAddress);
}

start();
