// The tables of a station: what became of every part, how the takt is kept, what became of the results, what happened.

import { milliseconds } from "./results.js";
import { put } from "./tiles.js";
import { language, say } from "./words.js";

const $ = (id) => document.getElementById(id);
const whole = (number) => number.toLocaleString("en");
const bad = (number) => ({ text: whole(number), alarm: number > 0 });

/** Shows every branch; `chosen` is the number of the one that is shown large, -1 for none. */
export function showTables(branches, chosen, nameOf) {
  const counted = branches.filter(({ counters }) => counters);
  fill($("counts"), counted, chosen, (branch) => [nameOf(branch), ...counts(branch)]);
  const timed = branches.filter(({ takt }) => takt);
  $("takt").hidden = !timed.length;
  fill($("takts"), timed, chosen, (branch) => [nameOf(branch), ...takt(branch.takt)]);
  const written = counted
    .filter(({ id }) => chosen < 0 || id === chosen)
    .flatMap((branch) => Object.entries(branch.sinks).map(([sink, it]) => ({ ...branch, sink, it })));
  fill($("sinks"), written, chosen, ({ sink, it, ...branch }) => [
    nameOf(branch),
    { text: sink, word: true },
    whole(it.written),
    whole(it.waiting),
    bad(it.dropped),
    bad(it.failed),
  ]);
}

function counts({ counters, latency }) {
  const dropped = Object.entries(counters.dropped);
  const total = dropped.reduce((sum, [, number]) => sum + number, 0);
  const queues = dropped.filter(([, number]) => number).map(([queue, number]) => `${queue} ${whole(number)}`);
  return [
    { text: whole(counters.entered), alarm: !counters.balanced },
    whole(counters.inspected),
    bad(counters.late),
    { text: whole(total), note: queues.length ? say("before {queues}", { queues: queues.join(", ") }) : "" },
    bad(counters.incomplete),
    bad(counters.never_inspected),
    bad(counters.failed),
    whole(counters.in_flight),
    milliseconds(latency.p50),
    milliseconds(latency.p99),
  ];
}

function takt({ deadline, missed, lateness }) {
  return [milliseconds(deadline), bad(missed), milliseconds(lateness.p50), milliseconds(lateness.p99)];
}

/** Rows are reused; a cell is a text, or {text, alarm, note, word}. The first cell names the row. */
function fill(body, items, chosen, cellsOf) {
  while (body.rows.length > items.length) body.deleteRow(-1);
  while (body.rows.length < items.length) body.append(document.createElement("tr"));
  items.forEach((item, index) => {
    const row = body.rows[index];
    row.classList.toggle("chosen", item.id === chosen);
    const cells = cellsOf(item);
    while (row.cells.length < cells.length) {
      row.append(row.cells.length ? document.createElement("td") : heading());
      row.lastChild.append(document.createElement("span"), document.createElement("small"));
    }
    cells.forEach((cell, place) => {
      const { text, alarm = false, note = "", word = false } = typeof cell === "string" ? { text: cell } : cell;
      const shown = row.cells[place];
      put(shown.firstChild, text);
      put(shown.lastChild, note);
      shown.dataset.alarm = alarm;
      shown.classList.toggle("number", place > 0 && !word);
    });
  });
}

function heading() {
  const cell = document.createElement("th");
  cell.scope = "row";
  return cell;
}

/** Shows what has happened, newest first. */
export function showEvents(events) {
  const items = events.map(({ number, when, since, count, level, element, text }) => {
    const item = document.createElement("li");
    item.dataset.level = level;
    item.dataset.number = number;
    const who = document.createElement("strong");
    who.textContent = element;
    const often = document.createElement("small");
    if (count > 1) often.append(`× ${whole(count)} `, say("since"), " ", moment(since));
    const words = document.createElement("span");
    words.lang = "en";
    words.textContent = text.startsWith(`${element}: `) ? text.slice(element.length + 2) : text;
    item.append(moment(when), who, often, words);
    return item;
  });
  $("events").replaceChildren(...items);
}

function moment(seconds) {
  const date = new Date(seconds * 1000);
  const shown = document.createElement("time");
  shown.dateTime = date.toISOString();
  shown.title = date.toLocaleString(language);
  shown.textContent = date.toLocaleTimeString(language, { hour12: false });
  return shown;
}
