// The operator page of a run: draws what the server sends, sends back what the operator sets.
//
// A binary message holds a picture, see live.js; a text message holds the state: settings, bundles, counters.

import { LivePicture } from "./live.js";
import { milliseconds, showObjects, showSummary, stampOf } from "./results.js";
import { Sliders, request } from "./sliders.js";
import { say, startLanguage } from "./words.js";

const $ = (id) => document.getElementById(id);
const SENTENCES = {
  waiting: "Waiting for the first picture",
  running: "Running",
  ended: "Ended – results stay here",
};

const shown = { masks: true, boxes: false, labels: true };
let frozen = false;
let state = null;
let noticed = ""; // the notice before it was translated

const live = new LivePicture($("stage"), shown, {
  connected: (yes) => {
    document.body.dataset.connected = yes;
    showStatus();
  },
  text: showState,
  picture: (head) => {
    showResults();
    showFigures(head);
  },
});

// ------------------------------------------------------------------- results

function showResults() {
  const head = live.head;
  showSummary($("summary"), head.objects);
  showObjects($("rows"), head.objects, (index) => live.choose(index));
  $("stamp").textContent = stampOf(head, live.skipped);
  $("stamp").title = say(head.source);
  const data = document.body.dataset;
  data.version = head.version;
  data.sequence = head.sequence;
  data.skipped = live.skipped;
}

// -------------------------------------------------------- state and settings

function showState(next) {
  state = next;
  $("bundle-name").textContent = state.bundle;
  $("source-name").textContent = say(state.source);
  sliders.show(state.settings);
  showBundles();
  showFigures(state);
  showStatus();
  if (state.notice) notice(state.notice.text, state.notice.kind);
  else if ($("notice").dataset.from === "server") $("notice").hidden = true;
  document.body.dataset.conf = state.settings.conf;
  document.body.dataset.iou = state.settings.iou;
}

function showStatus() {
  const connected = document.body.dataset.connected === "true";
  const status = $("status");
  const [name, english] = !connected
    ? ["lost", "Connection lost"]
    : frozen
      ? ["frozen", "Frozen – inspection goes on"]
      : [state?.status || "waiting", SENTENCES[state?.status] || SENTENCES.waiting];
  const text = say(english);
  if (status.textContent !== text) status.textContent = text;
  status.dataset.state = name;
}

function showFigures({ counters, fps, latency }) {
  for (const name of ["inspected", "entered", "dropped", "never_inspected", "failed"]) {
    const cell = $(`n-${name}`);
    cell.textContent = counters[name].toLocaleString("en");
    cell.dataset.alarm = ["never_inspected", "failed"].includes(name) && counters[name] > 0;
  }
  $("n-fps").textContent = fps === null ? "–" : fps.toFixed(1);
  $("n-p50").textContent = milliseconds(latency.p50);
  $("n-p99").textContent = milliseconds(latency.p99);
}

function showBundles() {
  const select = $("bundle");
  const listed = JSON.stringify(state.bundles);
  if (select.dataset.listed !== listed) {
    select.dataset.listed = listed;
    select.replaceChildren(...state.bundles.map(({ id, name }) => new Option(name, id)));
  }
  if (!select.matches(":focus") || !state.loading) select.value = state.loading || state.bundle_id;
}

function notice(english, kind = "bad", from = "server") {
  const box = $("notice");
  const text = say(english);
  noticed = english;
  if (box.textContent !== text) box.textContent = text;
  box.lang = text === english ? "en" : "zh-CN";
  box.dataset.kind = kind;
  box.dataset.from = from;
  if (!box.hidden) return;
  box.hidden = false;
  box.scrollIntoView({ block: "nearest" });
}

const slider = (name) => ({ input: $(name), output: $(`${name}-value`) });
const sliders = new Sliders("/api/settings", { conf: slider("conf"), iou: slider("iou") }, (trouble) => {
  if (trouble) notice(trouble, "bad", "page");
  else if ($("notice").dataset.from === "page") $("notice").hidden = true;
});

$("bundle").addEventListener("change", async () => {
  const trouble = await request("POST", "/api/bundle", { id: $("bundle").value });
  if (trouble) notice(trouble, "bad", "page");
});

for (const name of Object.keys(shown)) {
  $(`toggle-${name}`).addEventListener("click", (event) => {
    shown[name] = !shown[name];
    event.currentTarget.setAttribute("aria-pressed", shown[name]);
    live.redraw();
  });
}

$("freeze").addEventListener("click", (event) => {
  frozen = !frozen;
  event.currentTarget.setAttribute("aria-pressed", frozen);
  showStatus();
  live.freeze(frozen);
});

startLanguage(() => {
  if (document.body.dataset.connected) showStatus();
  if (state) $("source-name").textContent = say(state.source);
  if (live.head) showResults();
  if (!$("notice").hidden) notice(noticed, $("notice").dataset.kind, $("notice").dataset.from);
});
live.open("/ws");
