// The operator page of a station: every camera, one of them large, and what became of every part.
//
// One socket (/ws) tells states, counters, settings and events of all branches; each picture has a socket of its own, see
// live.js, which is open only while that picture is on the page.

import { Connection } from "./connection.js";
import { LivePicture } from "./live.js";
import { showObjects, showSummary, stampOf } from "./results.js";
import { Sliders } from "./sliders.js";
import { showEvents, showTables } from "./tables.js";
import { Tile, put, stillness } from "./tiles.js";
import { say, startLanguage } from "./words.js";

const $ = (id) => document.getElementById(id);
const TICK = 500; // ms between two looks at how old the pictures are

const shown = { masks: true, boxes: false, labels: true };
let connected = false;
let state = null;
let events = [];
let tiles = [];
let models = [];
let listed = ""; // which branches and models the tiles and sliders were made for
let fresh = false; // whether the connection is new, so that no picture comes yet
let chosen = -1; // number of the branch that is shown large
let frozen = false;

// -------------------------------------------------------------- large picture

const large = new LivePicture($("stage"), shown, { picture: showLarge });

function showLarge() {
  const head = large.head;
  showSummary($("summary"), head.objects);
  showObjects($("rows"), head.objects, (index) => large.choose(index));
  put($("stamp"), stampOf(head, large.skipped));
  $("stamp").title = say(head.source);
  document.body.dataset.version = head.version;
}

function choose(number) {
  const next = number === chosen ? -1 : number;
  freeze(false);
  large.close();
  large.clear();
  chosen = next;
  $("large").hidden = $("found").hidden = chosen < 0;
  $("summary").textContent = "–";
  put($("stamp"), "");
  showObjects($("rows"), [], () => {});
  if (chosen >= 0 && connected) large.open(`/ws/${chosen}?size=large`);
  document.body.dataset.chosen = chosen;
  show();
  if (chosen >= 0) $("large").scrollIntoView({ block: "nearest" });
}

function freeze(yes) {
  frozen = yes;
  $("freeze").setAttribute("aria-pressed", yes);
  large.freeze(yes);
  tick();
}

// --------------------------------------------------------------------- state

/** What a branch is called: its camera, and its model where several look at that camera. */
function nameOf({ source, model }) {
  const looks = state.branches.filter((other) => other.source === source);
  return looks.length > 1 && model ? `${source} › ${model}` : source;
}

function showState(next) {
  state = next;
  const now = JSON.stringify([
    state.station,
    state.branches.map(({ source, model }) => [source, model]),
    state.models.map(({ name, bundle }) => [name, bundle]),
  ]);
  if (now !== listed) {
    listed = now;
    rebuild();
  } else if (fresh) {
    tiles.forEach((tile) => tile.open());
    if (chosen >= 0) large.open(`/ws/${chosen}?size=large`);
  }
  fresh = false;
  show();
}

/** Another station, or the first that is heard of one: tiles and sliders are made anew. */
function rebuild() {
  tiles.forEach((tile) => tile.close());
  tiles = state.branches.map((branch) => new Tile(branch, choose));
  $("grid").replaceChildren(...tiles.map((tile) => tile.root));
  tiles.forEach((tile) => tile.open());
  models = state.models.map(newModel);
  $("models").replaceChildren(...models.map(({ box }) => box));
  $("settings").hidden = !models.length;
  chosen = -1;
  choose(tiles.length === 1 ? 0 : -1);
}

function show() {
  if (!state) return;
  put($("station-name"), state.station);
  document.title = `${state.station} – Lineside`;
  put($("run-time"), state.seconds === null ? "" : say("for {time}", { time: clock(state.seconds) }));
  state.branches.forEach((branch, index) => tiles[index].show(branch, nameOf(branch), index === chosen));
  state.models.forEach(({ settings }, index) => models[index].sliders.show(settings));
  showTables(state.branches, chosen, nameOf);
  tick();
}

/** A length of time as hours, minutes and seconds. */
function clock(seconds) {
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, Math.floor(seconds) % 60];
  return parts.map((part) => String(part).padStart(2, "0")).join(":");
}

/** Pictures grow old by themselves, whether the server says anything or not. */
function tick() {
  showStatus();
  if (!state) return;
  tiles.forEach((tile) => tile.tick(connected));
  if (chosen < 0) return;
  const still = stillness(large.age(), state.branches[chosen], connected);
  const held = frozen ? say("Frozen – inspection goes on") : "";
  put($("still"), held || still);
  $("still").hidden = !(held || still);
  $("stage").dataset.still = Boolean(still) && !held;
  $("stage").dataset.held = Boolean(held);
}

function showStatus() {
  const [name, text] = status();
  put($("status"), text);
  $("status").dataset.state = name;
}

/** The station in a word: what is wrong comes first. */
function status() {
  const ended = state?.status === "ended";
  if (!connected && state) return ended ? ["ended", say("Ended")] : ["lost", say("Connection lost")];
  if (!state || state.status === "starting") return ["waiting", say("Starting")];
  if (ended) return ["ended", say("Ended")];
  const names = Object.keys(state.sources);
  const silent = names.filter(isSilent).length;
  if (silent) return ["failed", say("{count} of {total} cameras silent", { count: silent, total: names.length })];
  return ["running", say("Running")];
}

/** Whether a camera that should give pictures does not; one that still connects for the first time is not yet. */
function isSilent(source) {
  const now = state.sources[source];
  const seen = state.branches.some((branch) => branch.source === source && branch.age !== null);
  return now === "STALLED" || now === "BACKOFF" || (now === "CONNECTING" && seen);
}

// ------------------------------------------------------------------ settings

const KNOBS = [
  ["conf", "0.01", "0.99", "Confidence", "Lower finds more and doubts more"],
  ["iou", "0", "1", "Overlap (IoU)", "Objects of one class that overlap more are merged"],
];

function newModel({ id, name, bundle }) {
  const box = document.createElement("fieldset");
  const legend = document.createElement("legend");
  legend.textContent = name === bundle ? name : `${name} · ${bundle}`;
  box.append(legend);
  const parts = {};
  const words = [];
  for (const [knob, min, max, label, hint] of KNOBS) {
    const row = document.createElement("div");
    row.className = "slider";
    const [caption, output, input, small] = ["label", "output", "input", "small"].map((kind) =>
      document.createElement(kind),
    );
    Object.assign(input, { type: "range", min, max, step: "0.01", id: `${knob}-${id}` });
    caption.htmlFor = input.id;
    output.htmlFor = input.id;
    words.push([caption, label], [small, hint]);
    row.append(caption, output, input, ...(id ? [] : [small])); // said once, not below every model
    box.append(row);
    parts[knob] = { input, output };
  }
  const relabel = () => words.forEach(([element, english]) => put(element, say(english)));
  relabel();
  return { box, relabel, sliders: new Sliders(`/api/models/${id}`, parts, complain) };
}

let complaint = ""; // before it was translated

function complain(trouble) {
  complaint = trouble || "";
  $("notice").hidden = !trouble;
  put($("notice"), say(complaint));
  $("notice").lang = say(complaint) === complaint ? "en" : "zh-CN";
}

// ------------------------------------------------------------------ controls

$("back").addEventListener("click", () => choose(-1));
$("freeze").addEventListener("click", () => freeze(!frozen));
for (const name of Object.keys(shown)) {
  $(`toggle-${name}`).addEventListener("click", (event) => {
    shown[name] = !shown[name];
    event.currentTarget.setAttribute("aria-pressed", shown[name]);
    large.redraw();
  });
}

startLanguage(() => {
  models.forEach(({ relabel }) => relabel());
  complain(complaint);
  showEvents(events);
  show();
  if (large.head) showLarge();
});

setInterval(tick, TICK);
new Connection("/ws", {
  opened: () => {
    connected = true;
    fresh = true; // the same station, or another one by now
  },
  closed: () => {
    connected = false;
    tiles.forEach((tile) => tile.close());
    large.close();
    tick();
  },
  received: (data) => {
    const told = JSON.parse(data);
    if (told.type === "events") showEvents((events = told.events));
    else showState(told);
  },
});
