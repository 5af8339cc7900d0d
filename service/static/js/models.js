// What a model knows and how fast it is, in words.

import { whole } from "./dom.js";

const SUBJECTS = { "fashion-mnist": "10 kinds of clothes", cifar10: "10 kinds of objects", imagenet: "1 000 kinds of objects" };
const MOST_LABELS = 10;

const isDigits = ({ labels }) => labels.length === 10 && labels.every((label, k) => label === String(k));

/** For example "Digits 0–9" or "10 kinds of objects". */
export const subject = (card) =>
  isDigits(card) ? "Digits 0–9" : SUBJECTS[card.dataset] || `${whole(card.labels.length)} classes`;

/** For example "28 × 28 grey". */
export function size({ input_shape: [channels, height, width] }) {
  return `${width}\u00a0×\u00a0${height} ${channels === 1 ? "grey" : "colour"}`;
}

/** The classes by name, the first few of many; nothing where the subject says it all. */
export function classes(card) {
  const { labels } = card;
  if (isDigits(card)) return "";
  const some = labels.slice(0, MOST_LABELS).join(", ");
  return labels.length > MOST_LABELS ? `${some} and ${whole(labels.length - MOST_LABELS)} more` : some;
}

/** For example "about 6 s"; seconds are rounded up. */
export function duration(seconds) {
  if (seconds < 90) return `about ${Math.max(1, Math.ceil(seconds))}\u00a0s`;
  const minutes = Math.ceil(seconds / 60);
  return minutes < 90 ? `about ${minutes}\u00a0min` : `about ${(minutes / 60).toFixed(1)}\u00a0h`;
}

/** What to expect of `n` votes before they are asked for. deadline: in seconds; 0 for none. */
export function forecast(card, n, deadline) {
  if (!card || !(n > 0)) return "";
  if (!card.votes_per_second) return "How long it takes is known once this model has answered here.";
  const waiting = card.waiting ? `, after ${whole(card.waiting)} that wait` : "";
  const seconds = n / card.votes_per_second;
  const speed = `${whole(Math.round(card.votes_per_second))} a second here`;
  if (!(deadline > 0 && deadline < seconds)) return `${duration(seconds)} for ${whole(n)} votes (${speed})${waiting}`;
  return `${deadline}\u00a0s for about ${whole(Math.round(deadline * card.votes_per_second))} of ${whole(n)} votes (${speed})${waiting}`;
}
