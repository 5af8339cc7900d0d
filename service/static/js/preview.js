// The chosen picture about as the model will see it, and what it should warn of. The service decides: the pixels that
// an answer is about are shown with it.

import { find, make, whole } from "./dom.js";
import { size, subject } from "./models.js";

const MUCH_LARGER = 4; // times the model's side: a photo, not a picture made for the model
const COLOURED = 24; // of 255: how far apart channels are that are no longer grey

let latest = 0; // a later choice overtakes one that still decodes

/** Draws `file` for `card`; hides the preview when there is nothing to show. */
export async function showPreview(file, card) {
  const turn = (latest += 1);
  const place = find("preview");
  const image = file && card ? await decoded(file) : null;
  if (turn !== latest) return;
  place.hidden = !image;
  if (!image) return;
  const canvas = seen(image, card);
  const warning = warnings(image, card);
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "The picture as the model sees it");
  const text = make("figcaption", {}, `About what the model sees: ${size(card)}`);
  place.replaceChildren(canvas, text, ...(warning ? [make("p", { class: "warning", role: "status" }, warning)] : []));
}

async function decoded(file) {
  try {
    return await createImageBitmap(file);
  } catch {
    return null; // the service says what is wrong with it
  }
}

/** Resized as the card says: the short side to `resize` and its middle, or the whole picture to the input's shape. */
function seen(image, { input_shape: [channels, height, width], preprocessing }) {
  const canvas = make("canvas", { width, height });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  const scale = preprocessing.resize ? preprocessing.resize / Math.min(image.width, image.height) : null;
  const [w, h] = scale ? [image.width * scale, image.height * scale] : [width, height];
  context.drawImage(image, (width - w) / 2, (height - h) / 2, w, h);
  if (channels === 1) makeGrey(context);
  return canvas;
}

function makeGrey(context) {
  const picture = context.getImageData(0, 0, context.canvas.width, context.canvas.height);
  const { data } = picture;
  for (let i = 0; i < data.length; i += 4) data.fill(0.299 * data[i] + 0.587 * data[i + 1] + 0.114 * data[i + 2], i, i + 3);
  context.putImageData(picture, 0, 0);
}

function warnings(image, card) {
  const [channels, height, width] = card.input_shape;
  const grey = channels === 1 && isColoured(image);
  const shrunk = image.width > MUCH_LARGER * width || image.height > MUCH_LARGER * height;
  if (!grey && !(shrunk && !card.preprocessing.resize)) return "";
  const what = `${grey ? "a colour picture" : "a picture"} of ${whole(image.width)} × ${whole(image.height)}`;
  return `This is ${what}; the model sees ${size(card)} and knows only ${subject(card).toLowerCase()}: it answers one of them, whatever the picture shows.`;
}

function isColoured(image) {
  const side = 32;
  const context = make("canvas", { width: side, height: side }).getContext("2d");
  context.drawImage(image, 0, 0, side, side);
  const { data } = context.getImageData(0, 0, side, side);
  for (let i = 0; i < data.length; i += 4) {
    const [r, g, b] = data.subarray(i, i + 3);
    if (Math.max(r, g, b) - Math.min(r, g, b) > COLOURED) return true;
  }
  return false;
}
