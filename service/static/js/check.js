// "Check a certificate": sends a certificate, and perhaps its picture, and says whether it holds.

import { verify } from "./api.js";
import { find } from "./dom.js";

const isDocument = (file) => file.type === "application/json" || file.name.toLowerCase().endsWith(".json");

/** Makes the form work. */
export function startChecking() {
  const form = find("check");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    check();
  });
  form.addEventListener("dragover", (event) => event.preventDefault());
  form.addEventListener("drop", (event) => {
    event.preventDefault();
    for (const file of event.dataTransfer.files) put(isDocument(file) ? "check-certificate" : "check-image", file);
    if (chosen("check-certificate")) check();
  });
}

function put(id, file) {
  const files = new DataTransfer();
  files.items.add(file);
  find(id).files = files.files;
}

const chosen = (id) => find(id).files[0];

async function check() {
  const certificate = chosen("check-certificate");
  if (!certificate) return say("refused", "Choose a certificate first: the JSON file that this page or `smoothcert certify --out` gave.");
  say("", "Checking…");
  try {
    const verdict = await verify(certificate, chosen("check-image"));
    if (!verdict.holds) return say("refused", `Refused: ${verdict.refused.field}: ${verdict.refused.reason}.`);
    return say("holds", sentences(verdict).join(" "));
  } catch (mistake) {
    return say("refused", mistake.message);
  }
}

function sentences({ checked, signed_by: key, signature_unchecked: why, error_probability: risk }) {
  return [
    `It holds. Checked: ${checked.join(", ")}.`,
    checked.includes("input") ? "The pixels are those of the picture." : "It was not compared with a picture.",
    key ? `This service signed it, with its key ${key}.` : `No signature was checked: ${why}.`,
    risk === null ? "" : `Of all answers up to this one to the same question, any is wrong with probability at most ${risk}.`,
  ].filter(Boolean);
}

function say(kind, text) {
  find("checked").className = kind === "holds" ? "certified" : kind === "refused" ? "mistake" : "hint";
  find("checked").textContent = text;
}
