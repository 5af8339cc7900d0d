// Two small plots, as inline SVG: a model's certified accuracy, and the radius as votes come in.

import { draw, radiusText, whole } from "./dom.js";

const LEFT = 28;
const BOTTOM = 15;
const TOP = 6;
const RIGHT = 4;

/** Axes from 0 to `x.end` and `y.end`, labelled `x.text` and `y.text` there; `x()` and `y()` turn values into coordinates. */
function frame(title, [width, height], x, y) {
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, class: "plot", role: "img", "aria-label": title });
  const floor = height - BOTTOM;
  const end = width - RIGHT;
  svg.append(
    draw("path", { class: "axis", d: `M${LEFT} ${TOP}V${floor}H${end}` }),
    draw("text", { x: LEFT - 3, y: TOP + 7, "text-anchor": "end" }, y.text),
    draw("text", { x: LEFT - 3, y: floor, "text-anchor": "end" }, "0"),
    draw("text", { x: end, y: height - 3, "text-anchor": "end" }, x.text),
    draw("text", { x: LEFT, y: height - 3 }, "0"),
  );
  return {
    svg,
    x: (value) => (LEFT + (value / x.end) * (end - LEFT)).toFixed(1),
    y: (value) => (floor - (value / y.end) * (floor - TOP)).toFixed(1),
  };
}

/** Certified accuracy against radius; `xEnd` is shared by all models so that their curves compare. */
export function accuracyPlot(evaluation, xEnd) {
  const points = Object.entries(evaluation.certified_accuracy)
    .map(([radius, share]) => [Number(radius), share])
    .sort((a, b) => a[0] - b[0]);
  const said = points.map(([radius, share]) => `${Math.round(100 * share)} % at ${radius}`).join(", ");
  const { svg, x, y } = frame(
    `Certified accuracy by radius: ${said}`,
    [160, 84],
    { end: xEnd, text: `r = ${xEnd}` },
    { end: 1, text: "100%" },
  );
  const line = points.map(([radius, share]) => `${x(radius)} ${y(share)}`).join("L");
  const last = x(points.at(-1)[0]);
  svg.append(
    draw("path", { class: "area", d: `M${line}L${last} ${y(0)}L${x(points[0][0])} ${y(0)}Z` }),
    draw("path", { class: "curve", d: `M${line}` }),
  );
  return svg;
}

/** The proved radius after so many votes: a staircase, because each look may only raise it. */
export function growthPlot(steps, of) {
  const top = Math.max(...steps.map((step) => step.radius));
  const last = steps.at(-1);
  const title = `Proved radius ${radiusText(last.radius)} after ${whole(last.samples)} votes`;
  const { svg, x, y } = frame(title, [420, 110], { end: of, text: `${whole(of)} votes` }, { end: top || 1, text: radiusText(top).slice(0, -1) });
  let path = `M${x(0)} ${y(0)}`;
  for (const step of steps) path += `H${x(step.samples)}V${y(step.radius)}`;
  svg.append(draw("path", { class: "curve", d: path }));
  return svg;
}
