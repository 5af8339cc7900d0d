// The form: which picture, which model, how many votes.

import { find, make, percent } from "./dom.js";
import { accuracyPlot } from "./plot.js";

const DIGITS = [...Array(10).keys()].map((digit) => [`digit-${digit}`, `A handwritten ${digit}`]);
const SAMPLES = [...DIGITS, ["hard-5", "A 5 that is hard to read"], ["noise", "Noise, no digit at all"]];
const FIRST = "digit-7";
const PREFERRED = "mnist-lenet-consistency-0.50";

let dropped = null; // a File, once one was chosen or dropped

/** Draws the samples and makes the drop zone work. */
export function prepareForm() {
  find("samples").replaceChildren(...SAMPLES.map(([name, title]) => sample(name, title)));
  find("file").addEventListener("change", () => take(find("file").files[0]));
  find("samples").addEventListener("change", () => take(null));
  const drop = find("drop");
  for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, (event) => hover(event, true));
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, (event) => hover(event, false));
  drop.addEventListener("drop", (event) => take(event.dataTransfer.files[0]));
}

function sample(name, title) {
  const radio = make("input", { type: "radio", name: "sample", value: name, checked: name === FIRST, "aria-label": title });
  return make("label", { title }, radio, make("img", { src: `static/samples/${name}.png`, alt: "", width: 56, height: 56 }));
}

function hover(event, over) {
  event.preventDefault();
  find("drop").classList.toggle("over", over);
}

function take(file) {
  dropped = file || null;
  find("drop").classList.toggle("chosen", Boolean(file));
  if (!file) {
    find("file").value = "";
    find("drop-text").replaceChildren(make("b", {}, "Choose a file"), " or drop one here");
    return;
  }
  find("drop-text").textContent = file.name;
  for (const radio of find("samples").querySelectorAll("input")) radio.checked = false;
}

/** Draws one choice a model. */
export function showModels(cards) {
  const place = find("models");
  place.setAttribute("aria-busy", "false");
  if (!cards.length) {
    place.replaceChildren(make("p", { class: "mistake" }, "This service has no model."));
    return;
  }
  const radii = cards.flatMap((card) => (card.evaluation ? Object.keys(card.evaluation.certified_accuracy).map(Number) : []));
  const xEnd = Math.max(1, ...radii);
  const first = cards.find((card) => card.name === PREFERRED) || cards[0];
  place.replaceChildren(...cards.map((card) => model(card, xEnd, card === first)));
}

function model(card, xEnd, checked) {
  const measured = card.evaluation;
  const acr = measured ? `ACR ${measured.acr.toFixed(3)}, abstains ${percent(measured.abstention_rate)}` : "not measured yet";
  const radio = make("input", { type: "radio", name: "model", value: card.name, checked, "aria-label": `${card.name}, ${acr}` });
  return make(
    "label",
    { class: "model" },
    radio,
    make("b", {}, `${card.method}, σ\u00a0=\u00a0${card.sigma}`),
    make("span", {}, `${card.dataset}, ${card.architecture}`),
    make("span", {}, acr),
    measured ? accuracyPlot(measured, xEnd) : "",
  );
}

/** The file to certify and its name for the history. */
export async function chosenPicture() {
  if (dropped) return { file: dropped, name: dropped.name };
  const radio = find("samples").querySelector("input:checked");
  if (!radio) return null;
  const answer = await fetch(`static/samples/${radio.value}.png`);
  return { file: new File([await answer.blob()], `${radio.value}.png`), name: radio.getAttribute("aria-label") };
}

/** The form's fields as the service names them. */
export function asked() {
  const model = find("models").querySelector("input:checked");
  const value = (id) => find(id).value.trim();
  const procedure = value("procedure");
  return {
    model: model ? model.value : "",
    n: value("n"),
    alpha: value("alpha"),
    procedure,
    target_radius: procedure === "anytime" ? value("target_radius") : "",
  };
}

/** Says what is wrong beside the button and marks the fields; null takes it back. */
export function showMistake(mistake) {
  const place = find("mistake");
  place.hidden = !mistake;
  for (const input of find("ask").querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
  if (!mistake) return;
  const fields = mistake.fields || [];
  const said = fields.length ? fields.map(({ field, detail }) => (detail.includes(field) ? detail : `${field}: ${detail}`)) : [mistake.message];
  place.textContent = said.join(" ");
  for (const { field } of fields) {
    const input = find(field);
    if (!input) continue;
    input.setAttribute("aria-invalid", "true");
    input.closest("details")?.setAttribute("open", "");
  }
}
