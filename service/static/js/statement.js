// What a signed statement proves of the distribution of the images that a model was tried on.

import { confidence, find, make, whole } from "./dom.js";

/** Shares are rounded down, as radii are. */
const atLeast = (share) => `${(Math.floor(1000 * share) / 10).toFixed(1)}\u00a0%`;

/** Shows the statement of `card`, or why there is none; hides it where nothing is known. */
export function showStatement(card) {
  const { statement = null, no_statement: why = null } = card || {};
  find("statement").hidden = !statement && !why;
  if (find("statement").hidden) return;
  find("statement-text").replaceChildren(...(statement ? shown(card.name, statement) : [make("p", { class: "hint" }, `There is no statement: ${why}`)]));
}

function shown(name, { images, beta, radii }) {
  const header = ["within radius", "right and certified", "at least, of all such images"].map((text) => make("th", { scope: "col" }, text));
  const text = `Of ${whole(images)} test images so many are answered right with a proof that reaches so far. From that follows, with ` +
    `${confidence(beta)} confidence for each radius, the share of all images like them that is answered right at every point within it.`;
  return [
    make("p", { class: "hint" }, text),
    make("table", {}, make("thead", {}, make("tr", {}, ...header)), make("tbody", {}, ...radii.map(row))),
    make("p", {}, make("a", { href: `models/${encodeURIComponent(name)}/statement`, download: true }, "The signed statement")),
  ];
}

function row({ radius, right, of, at_least: share }) {
  const cells = [`${whole(right)} of ${whole(of)}`, atLeast(share)].map((text) => make("td", {}, text));
  return make("tr", {}, make("th", { scope: "row" }, Number(radius.toFixed(2)) === radius ? radius.toFixed(2) : String(radius)), ...cells);
}
