// What was found in one picture: how many of each class, and a table with a row for each object.

import { say } from "./words.js";

const PALETTE = ["#ff8a1f", "#2fb4ff", "#38d39f", "#ff5fa2", "#ffd23f", "#a98bff", "#ff6b57", "#7fd9e8"];

export const colour = (index) => PALETTE[index % PALETTE.length];

function swatch(index) {
  const mark = document.createElement("span");
  mark.className = "swatch";
  mark.style.background = colour(index);
  return mark;
}

/** Shows into `place` how many objects of each class there are. */
export function showSummary(place, objects) {
  const counts = new Map();
  for (const object of objects) {
    const entry = counts.get(object.class) || { name: object.name, count: 0 };
    entry.count += 1;
    counts.set(object.class, entry);
  }
  const parts = [...counts].sort(([a], [b]) => a - b).map(([index, { name, count }]) => {
    const part = document.createElement("span");
    part.append(swatch(index), `${count} ${name}`);
    return part;
  });
  place.replaceChildren(...(parts.length ? parts : [say("Nothing found")]));
}

/** Shows objects as rows of `body`; `choose` is told the row under the pointer, -1 for none. */
export function showObjects(body, objects, choose) {
  // Rows are reused: at 30 pictures a second a rebuilt table flickers and loses the pointer.
  while (body.rows.length > objects.length) body.deleteRow(-1);
  while (body.rows.length < objects.length) body.append(newRow(body.rows.length, choose));
  objects.forEach((object, index) => {
    const [name, score, box, area] = body.rows[index].cells;
    const [x0, y0, x1, y1] = object.box;
    name.firstChild.style.background = colour(object.class);
    name.lastChild.data = object.name;
    score.textContent = object.score.toFixed(3);
    box.textContent = `${x0.toFixed(0)}, ${y0.toFixed(0)}, ${(x1 - x0).toFixed(0)} × ${(y1 - y0).toFixed(0)}`;
    area.textContent = object.area === null ? "–" : object.area.toLocaleString("en");
  });
}

function newRow(index, choose) {
  const row = document.createElement("tr");
  for (let cell = 0; cell < 4; cell += 1) row.insertCell().className = cell ? "number" : "";
  row.cells[0].append(swatch(0), document.createTextNode(""));
  row.addEventListener("pointerenter", () => choose(index));
  row.addEventListener("pointerleave", () => choose(-1));
  return row;
}

/** Which picture it is, and how many were not shown here. */
export function stampOf(head, skipped) {
  const number = say("Picture {number}", { number: head.sequence + 1 });
  const skips = skipped ? say(", {count} not shown here", { count: skipped }) : "";
  return `${number} · ${say(head.source.split(/[\\/]/).pop())}${skips}`;
}

/** A duration in milliseconds as people read it. */
export function milliseconds(value) {
  return value === null ? "–" : `${value.toFixed(value < 100 ? 1 : 0)} ms`;
}
