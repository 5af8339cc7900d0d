// The form: which picture, which model, how many votes.

import { find, make, percent } from "./dom.js";
import { classes, forecast, size, subject } from "./models.js";
import { accuracyPlot } from "./plot.js";
import { showPreview } from "./preview.js";
import { showStatement } from "./statement.js";

const DIGITS = [...Array(10).keys()].map((digit) => [`digit-${digit}`, `A handwritten ${digit}`]);
const OBJECTS = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
const SAMPLES = {
  mnist: [...DIGITS, ["hard-5", "A 5 that is hard to read"], ["noise", "Noise, no digit at all"]],
  cifar10: OBJECTS.map((name) => [`cifar10/${name}`, `A small picture: ${name}`]),
};
const FIRST = { mnist: "digit-7", cifar10: "cifar10/cat" };
const PREFERRED = "mnist-lenet-consistency-0.50";

let dropped = null; // a File, once one was chosen or dropped
let cards = new Map();
let sampled = ""; // the data set whose samples are on show

/** Makes the form work; its models come later. */
export function prepareForm() {
  find("file").addEventListener("change", () => take(find("file").files[0]));
  find("samples").addEventListener("change", () => take(null));
  find("models").addEventListener("change", showChoice);
  for (const id of ["n", "deadline", "procedure"]) find(id).addEventListener("input", showForecast);
  const drop = find("drop");
  for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, (event) => hover(event, true));
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, (event) => hover(event, false));
  drop.addEventListener("drop", (event) => take(event.dataTransfer.files[0]));
}

function sample([name, title], first) {
  const radio = make("input", { type: "radio", name: "sample", value: name, checked: name === first && !dropped, "aria-label": title });
  return make("label", { title }, radio, make("img", { src: `static/samples/${name}.png`, alt: "", width: 56, height: 56 }));
}

const chosenModel = () => cards.get(find("models").querySelector("input:checked")?.value);

/** What depends on the model: samples of its kind, the preview, how long it takes. */
function showChoice() {
  const card = chosenModel();
  if (card && card.dataset !== sampled) {
    sampled = card.dataset;
    const samples = SAMPLES[sampled] || [];
    find("samples").replaceChildren(...samples.map((one) => sample(one, FIRST[sampled])));
    find("no-samples").hidden = samples.length > 0;
  }
  showForecast();
  showChosenPicture();
  showStatement(card);
}

function showForecast() {
  const { n, deadline } = asked();
  find("forecast").textContent = forecast(chosenModel(), Number(n), Number(deadline));
}

/** Samples are small already: only a chosen file is shown as the model sees it. */
function showChosenPicture() {
  showPreview(dropped, chosenModel());
}

function hover(event, over) {
  event.preventDefault();
  find("drop").classList.toggle("over", over);
}

function take(file) {
  dropped = file || null;
  find("drop").classList.toggle("chosen", Boolean(file));
  showChosenPicture();
  if (!file) {
    find("file").value = "";
    find("drop-text").replaceChildren(make("b", {}, "Choose a file"), " or drop one here");
    return;
  }
  find("drop-text").textContent = file.name;
  for (const radio of find("samples").querySelectorAll("input")) radio.checked = false;
}

/** Takes in what the cards say now, without drawing the choices anew. */
export function updateModels(listed) {
  cards = new Map(listed.map((card) => [card.name, card]));
  showForecast();
}

/** Draws one choice a model. */
export function showModels(listed) {
  const place = find("models");
  place.setAttribute("aria-busy", "false");
  updateModels(listed);
  if (!listed.length) {
    place.replaceChildren(make("p", { class: "mistake" }, "This service has no model."));
    return;
  }
  const radii = listed.flatMap((card) => (card.evaluation ? Object.keys(card.evaluation.certified_accuracy).map(Number) : []));
  const xEnd = Math.max(1, ...radii);
  const usable = listed.filter((card) => !card.refused);
  const first = usable.find((card) => card.name === PREFERRED) || usable[0];
  place.replaceChildren(...listed.map((card) => model(card, xEnd, card === first)));
  showChoice();
}

function abstains(rate) {
  return rate === null ? "" : `, abstains ${percent(rate)}`;
}

function model(card, xEnd, checked) {
  const measured = card.evaluation;
  const acr = measured ? `ACR ${measured.acr.toFixed(3)}${abstains(measured.abstention_rate)}` : "not measured yet";
  const radio = make("input", { type: "radio", name: "model", value: card.name, checked, disabled: Boolean(card.refused), "aria-label": `${subject(card)}, ${card.name}, ${acr}` });
  return make(
    "label",
    { class: "model", title: card.name },
    radio,
    make("b", {}, `${subject(card)}, σ\u00a0=\u00a0${card.sigma}`),
    make("span", {}, [size(card), classes(card)].filter(Boolean).join(": ")),
    make("span", {}, `${card.architecture}, ${card.method}; ${acr}`),
    card.refused ? make("span", { class: "warning" }, `Can’t be used: ${card.refused}`) : "",
    measured ? accuracyPlot(measured, xEnd) : "",
  );
}

/** The file to certify and its name for the history. */
export async function chosenPicture() {
  if (dropped) return { file: dropped, name: dropped.name };
  const radio = find("samples").querySelector("input:checked");
  if (!radio) return null;
  const answer = await fetch(`static/samples/${radio.value}.png`);
  return { file: new File([await answer.blob()], `${radio.value.split("/").pop()}.png`), name: radio.getAttribute("aria-label") };
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
    deadline: procedure === "anytime" ? value("deadline") : "",
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
