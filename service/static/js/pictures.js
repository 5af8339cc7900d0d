// The picture as it was certified, as one noisy voter sees it, and after a change of exactly the proved size.

import { make, radiusText } from "./dom.js";

/** A standard normal number (Box and Muller). For show only: the votes' noise is drawn by the engine. */
function normal() {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}

function isGrey(data) {
  for (let i = 0; i < data.length; i += 4) if (data[i] !== data[i + 1] || data[i] !== data[i + 2]) return false;
  return true;
}

/** One number a channel and pixel, drawn by `normal`, scaled by `scale(list)`. */
function direction(count, scale) {
  const values = Float64Array.from({ length: count }, normal);
  const factor = scale(values);
  return values.map((value) => value * factor);
}

function changed(image, scale) {
  const canvas = make("canvas", { width: image.naturalWidth, height: image.naturalHeight });
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const picture = context.getImageData(0, 0, canvas.width, canvas.height);
  const channels = isGrey(picture.data) ? 1 : 3;
  const pixels = canvas.width * canvas.height;
  const change = direction(pixels * channels, scale);
  for (let i = 0; i < pixels; i += 1) {
    for (let c = 0; c < 3; c += 1) picture.data[4 * i + c] += 255 * change[i * channels + (channels === 1 ? 0 : c)];
  }
  context.putImageData(picture, 0, 0);
  return canvas;
}

const length = (values) => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));

function captioned(picture, caption, alt) {
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", alt);
  return make("figure", {}, picture, make("figcaption", {}, caption));
}

/** Fills `place`. `radius` may be 0 or null: then there is no third picture. */
export async function showPictures(place, source, sigma, radius) {
  const image = new Image();
  image.src = source;
  try {
    await image.decode();
  } catch {
    place.replaceChildren();
    return;
  }
  image.alt = "The picture that was certified";
  const figures = [
    make("figure", {}, image, make("figcaption", {}, "The pixels the answer is about")),
    captioned(changed(image, () => sigma), `As one of the votes sees it: noise of σ = ${sigma}`, "The picture under noise"),
  ];
  if (radius > 0) {
    const moved = changed(image, (values) => radius / length(values));
    figures.push(captioned(moved, `A change of size ${radiusText(radius)}, in a random direction`, "The picture changed"));
  }
  place.replaceChildren(...figures);
}
