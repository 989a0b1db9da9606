// The operator page: draws what the server sends, sends back what the operator sets.
//
// A binary message holds one picture and everything drawn over it (4 bytes length, JSON, JPEG); it is acknowledged once
// it is on the screen, and only then does the server send another. A hidden or frozen page holds its acknowledgement
// back, so it costs nothing. A text message holds the state: settings, bundles, counters.

import { say, startLanguage } from "./words.js";

const $ = (id) => document.getElementById(id);
const PALETTE = ["#ff8a1f", "#2fb4ff", "#38d39f", "#ff5fa2", "#ffd23f", "#a98bff", "#ff6b57", "#7fd9e8"];
const SENTENCES = {
  waiting: "Waiting for the first picture",
  running: "Running",
  ended: "Ended – results stay here",
};
const colour = (index) => PALETTE[index % PALETTE.length];

const shown = { masks: true, boxes: false, labels: true };
let socket = null;
let picture = null; // the JSON head of the picture on the screen
let bitmap = null; // its pixels
let waiting = null; // {head, bitmap} received, but not yet on the screen: the page is hidden, frozen or just not ready
let frozen = false;
let skipped = 0;
let lastVersion = 0;
let state = null;
let retry = 500;
let chosen = -1; // row under the pointer
let noticed = ""; // the notice before it was translated

// ---------------------------------------------------------------- connection

function connect() {
  socket = new WebSocket(`ws://${location.host}/ws`);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => {
    retry = 500;
    lastVersion = 0;
    waiting = null;
    document.body.dataset.connected = "true";
    showStatus();
  };
  socket.onmessage = (event) => {
    if (typeof event.data === "string") showState(JSON.parse(event.data));
    else receivePicture(event.data);
  };
  socket.onclose = () => {
    document.body.dataset.connected = "false";
    showStatus();
    setTimeout(connect, retry);
    retry = Math.min(retry * 2, 8000);
  };
}

async function receivePicture(buffer) {
  const from = socket;
  const length = new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const next = await createImageBitmap(new Blob([new Uint8Array(buffer, 4 + length)], { type: "image/jpeg" }));
  if (from !== socket) return; // the connection it came by is gone
  waiting = { head, bitmap: next };
  requestPresent();
}

/** A hidden page gets no animation frames, so what waits stays unacknowledged until somebody looks again. */
function requestPresent() {
  if (waiting && !frozen) requestAnimationFrame(present);
}

function present() {
  if (!waiting || frozen) return;
  bitmap?.close();
  ({ head: picture, bitmap } = waiting);
  waiting = null;
  if (lastVersion) skipped += picture.version - lastVersion - 1;
  lastVersion = picture.version;
  drawPicture();
  drawOverlay();
  showResults();
  showFigures(picture);
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ ack: picture.version }));
}

// ------------------------------------------------------------------- picture

/** Fits both canvases into the stage, the overlay at the screen's own resolution so that thin outlines stay crisp. */
function layOut() {
  const [wide, high] = picture.size;
  const stage = $("stage");
  stage.style.setProperty("--ratio", wide / high);
  const scale = Math.min(stage.clientWidth / wide, stage.clientHeight / high);
  const width = Math.max(1, Math.floor(wide * scale));
  const height = Math.max(1, Math.floor(high * scale));
  for (const canvas of [$("picture"), $("overlay")]) {
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    canvas.style.left = `${Math.floor((stage.clientWidth - width) / 2)}px`;
    canvas.style.top = `${Math.floor((stage.clientHeight - height) / 2)}px`;
  }
  const dense = window.devicePixelRatio || 1;
  resize($("overlay"), Math.round(width * dense), Math.round(height * dense));
  return (width * dense) / wide; // device pixels per picture pixel
}

function resize(canvas, width, height) {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
}

function drawPicture() {
  const canvas = $("picture");
  resize(canvas, bitmap.width, bitmap.height);
  canvas.getContext("2d", { alpha: false }).drawImage(bitmap, 0, 0);
  $("empty").hidden = true;
}

function drawOverlay() {
  const scale = layOut();
  const canvas = $("overlay");
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, canvas.width, canvas.height);
  const line = Math.max(1.5, 1.5 * (window.devicePixelRatio || 1));
  picture.objects.forEach((object, index) => {
    pen.strokeStyle = pen.fillStyle = colour(object.class);
    pen.lineWidth = index === chosen ? 2.5 * line : line;
    pen.lineJoin = "round";
    if (shown.masks) drawMask(pen, object.outlines, scale, index === chosen);
    if (shown.boxes || index === chosen || !object.outlines.length) {
      const [x0, y0, x1, y1] = object.box;
      pen.strokeRect(x0 * scale, y0 * scale, (x1 - x0) * scale, (y1 - y0) * scale);
    }
  });
  if (shown.labels) for (const object of picture.objects) drawLabel(pen, object, scale, canvas);
}

function drawMask(pen, outlines, scale, strong) {
  const path = new Path2D();
  for (const points of outlines) {
    // Outlines run through pixel centres, which lie half a pixel into the pixel.
    for (let i = 0; i < points.length; i += 2) {
      const x = (points[i] + 0.5) * scale;
      const y = (points[i + 1] + 0.5) * scale;
      if (i === 0) path.moveTo(x, y);
      else path.lineTo(x, y);
    }
    path.closePath();
  }
  pen.globalAlpha = strong ? 0.6 : 0.38;
  pen.fill(path, "evenodd");
  pen.globalAlpha = 1;
  pen.stroke(path);
}

function drawLabel(pen, object, scale, canvas) {
  const dense = window.devicePixelRatio || 1;
  const text = `${object.name} ${object.score.toFixed(2)}`;
  pen.font = `600 ${13 * dense}px system-ui, sans-serif`;
  const width = pen.measureText(text).width + 10 * dense;
  const height = 20 * dense;
  const x = Math.max(0, Math.min(object.box[0] * scale, canvas.width - width));
  const above = object.box[1] * scale - height - 2 * dense;
  const y = above >= 0 ? above : Math.min(object.box[3] * scale + 2 * dense, canvas.height - height);
  pen.fillStyle = colour(object.class);
  pen.beginPath();
  pen.roundRect(x, y, width, height, 4 * dense);
  pen.fill();
  pen.fillStyle = "#10161a";
  pen.textBaseline = "middle";
  pen.fillText(text, x + 5 * dense, y + height / 2 + dense);
}

// ------------------------------------------------------------------- results

function showResults() {
  const counts = new Map();
  for (const object of picture.objects) {
    const entry = counts.get(object.class) || { name: object.name, count: 0 };
    entry.count += 1;
    counts.set(object.class, entry);
  }
  const parts = [...counts].sort(([a], [b]) => a - b).map(([index, { name, count }]) => {
    const part = document.createElement("span");
    part.append(swatch(index), `${count} ${name}`);
    return part;
  });
  $("summary").replaceChildren(...(parts.length ? parts : [say("Nothing found")]));
  fillTable(picture.objects);
  const number = say("Picture {number}", { number: picture.sequence + 1 });
  const skips = skipped ? say(", {count} not shown here", { count: skipped }) : "";
  const file = say(picture.source.split(/[\\/]/).pop());
  $("stamp").textContent = `${number} · ${file}${skips}`;
  $("stamp").title = say(picture.source);
  const data = document.body.dataset;
  data.version = picture.version;
  data.sequence = picture.sequence;
  data.skipped = skipped;
}

function swatch(index) {
  const mark = document.createElement("span");
  mark.className = "swatch";
  mark.style.background = colour(index);
  return mark;
}

/** Rows are reused: at 30 pictures a second a rebuilt table flickers and loses the pointer. */
function fillTable(objects) {
  const body = $("rows");
  while (body.rows.length > objects.length) body.deleteRow(-1);
  while (body.rows.length < objects.length) body.append(newRow(body.rows.length));
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

function newRow(index) {
  const row = document.createElement("tr");
  for (let cell = 0; cell < 4; cell += 1) row.insertCell().className = cell ? "number" : "";
  row.cells[0].append(swatch(0), document.createTextNode(""));
  row.addEventListener("pointerenter", () => choose(index));
  row.addEventListener("pointerleave", () => choose(-1));
  return row;
}

function choose(index) {
  chosen = index;
  if (picture && bitmap) drawOverlay();
}

// -------------------------------------------------------- state and settings

function showState(next) {
  state = next;
  $("bundle-name").textContent = state.bundle;
  $("source-name").textContent = say(state.source);
  showSlider("conf", state.settings.conf);
  showSlider("iou", state.settings.iou);
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

function milliseconds(value) {
  return value === null ? "–" : `${value.toFixed(value < 100 ? 1 : 0)} ms`;
}

function showSlider(name, value) {
  $(`${name}-value`).textContent = value.toFixed(2);
  if (!(name in wanted) && !$(name).matches(":active")) $(name).value = value;
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

const wanted = {}; // slider values not yet taken by the server
let sending = false;

/** One request at a time: while the slider moves, only the newest value waits. */
async function sendSettings() {
  if (sending) return;
  sending = true;
  while (Object.keys(wanted).length) {
    const body = { ...wanted };
    const trouble = await request("PATCH", "/api/settings", body);
    for (const name of Object.keys(body)) if (wanted[name] === body[name]) delete wanted[name];
    if (trouble) notice(trouble, "bad", "page");
    else if ($("notice").dataset.from === "page") $("notice").hidden = true;
  }
  sending = false;
}

async function request(method, path, body) {
  try {
    const answer = await fetch(path, {
      method,
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    return answer.ok ? null : (await answer.json()).error;
  } catch {
    return "The server cannot be reached; the setting was not changed.";
  }
}

for (const name of ["conf", "iou"]) {
  $(name).addEventListener("input", () => {
    wanted[name] = Number($(name).value);
    $(`${name}-value`).textContent = wanted[name].toFixed(2);
    sendSettings();
  });
}

$("bundle").addEventListener("change", async () => {
  const trouble = await request("POST", "/api/bundle", { id: $("bundle").value });
  if (trouble) notice(trouble, "bad", "page");
});

for (const name of Object.keys(shown)) {
  $(`toggle-${name}`).addEventListener("click", (event) => {
    shown[name] = !shown[name];
    event.currentTarget.setAttribute("aria-pressed", shown[name]);
    if (picture && bitmap) drawOverlay();
  });
}

$("freeze").addEventListener("click", (event) => {
  frozen = !frozen;
  event.currentTarget.setAttribute("aria-pressed", frozen);
  showStatus();
  requestPresent();
});

startLanguage(() => {
  if (document.body.dataset.connected) showStatus();
  if (state) $("source-name").textContent = say(state.source);
  if (picture) showResults();
  if (!$("notice").hidden) notice(noticed, $("notice").dataset.kind, $("notice").dataset.from);
});
new ResizeObserver(() => picture && bitmap && drawOverlay()).observe($("stage"));
connect();
