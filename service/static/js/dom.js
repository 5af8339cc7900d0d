// Small helpers for making elements. Text is always set as text, never as markup.

export const find = (id) => document.getElementById(id);

/** An element with attributes and children; a child may be a string. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/** The same for SVG. */
export function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export const whole = (number) => number.toLocaleString("en").replaceAll(",", " ");
export const percent = (share) => `${(100 * share).toFixed(1)}\u00a0%`;

/** Radii are rounded down: what is shown must not claim more than was proved. */
export function radiusText(radius) {
  const nearest = Math.round(radius * 1000) / 1000; // not the floor of the product, which may be rounded up itself
  return (nearest > radius ? nearest - 0.001 : nearest).toFixed(3);
}

/** A tiny alpha is not rounded to 100 %: nothing here is certain. */
export function confidence(alpha) {
  const percentage = Number((100 * (1 - alpha)).toPrecision(10));
  return percentage < 100 ? `${percentage}\u00a0%` : `1 − ${alpha}`;
}
