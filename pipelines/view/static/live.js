// A live picture with what was found in it, on two canvases of a stage.
//
// A binary message holds one picture and everything drawn over it (4 bytes length, JSON, JPEG); it is acknowledged once
// it is on the screen, and only then does the server send another. A hidden or frozen page holds its acknowledgement
// back, so it costs nothing.

import { Connection } from "./connection.js";
import { colour } from "./results.js";

export class LivePicture {
  head = null; // the JSON of the picture on the screen
  skipped = 0; // pictures that came between two that are shown here
  #stage;
  #picture;
  #overlay;
  #empty;
  #shown;
  #tell;
  #bitmap = null; // pixels of the picture on the screen
  #waiting = null; // {head, bitmap, received}, not yet on the screen: the page is hidden, frozen or just not ready
  #received = 0;
  #connection = null;
  #life = 0; // counts connections: what was sent over an old one is not shown
  #lastVersion = 0;
  #frozen = false;
  #chosen = -1; // object under the pointer

  /** `shown` says what is drawn; `tell` may have `connected(yes)`, `text(value)` and `picture(head)`. */
  constructor(stage, shown, tell = {}) {
    this.#stage = stage;
    [this.#picture, this.#overlay] = stage.querySelectorAll("canvas");
    this.#empty = stage.querySelector(".empty");
    this.#shown = shown;
    this.#tell = tell;
    new ResizeObserver(() => this.redraw()).observe(stage);
  }

  open(path) {
    this.close();
    this.#connection = new Connection(path, {
      opened: () => {
        this.#life += 1;
        this.#lastVersion = 0;
        this.#waiting = null;
        this.#tell.connected?.(true);
      },
      closed: () => this.#tell.connected?.(false),
      received: (data) => (typeof data === "string" ? this.#tell.text?.(JSON.parse(data)) : this.#receive(data)),
    });
  }

  /** Leaves the picture on the screen, and lets no other come. */
  close() {
    this.#connection?.close();
    this.#connection = null;
    this.#life += 1;
  }

  /** Takes the picture off the screen. */
  clear() {
    this.#bitmap?.close();
    this.#bitmap = this.#waiting = this.head = null;
    this.skipped = 0;
    for (const canvas of [this.#picture, this.#overlay]) canvas.style.width = canvas.style.height = "0";
    this.#empty.hidden = false;
  }

  /** Seconds since the picture on the screen was captured; null where there is none. */
  age() {
    return this.head ? this.head.age + (performance.now() - this.#received) / 1000 : null;
  }

  freeze(yes) {
    this.#frozen = yes;
    this.#requestPresent();
  }

  /** Draws one object more strongly; -1 for none. */
  choose(index) {
    this.#chosen = index;
    this.redraw();
  }

  redraw() {
    if (this.head && this.#bitmap) this.#drawOverlay();
  }

  async #receive(buffer) {
    const life = this.#life;
    const received = performance.now();
    const length = new DataView(buffer).getUint32(0, true);
    const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
    const bitmap = await createImageBitmap(new Blob([new Uint8Array(buffer, 4 + length)], { type: "image/jpeg" }));
    if (life !== this.#life) return; // the connection it came by is gone
    this.#waiting = { head, bitmap, received };
    this.#requestPresent();
  }

  /** A hidden page gets no animation frames, so what waits stays unacknowledged until somebody looks again. */
  #requestPresent() {
    if (this.#waiting && !this.#frozen) requestAnimationFrame(() => this.#present());
  }

  #present() {
    if (!this.#waiting || this.#frozen) return;
    this.#bitmap?.close();
    ({ head: this.head, bitmap: this.#bitmap, received: this.#received } = this.#waiting);
    this.#waiting = null;
    if (this.#lastVersion) this.skipped += this.head.version - this.#lastVersion - 1;
    this.#lastVersion = this.head.version;
    this.#drawPicture();
    this.#drawOverlay();
    this.#tell.picture?.(this.head);
    this.#connection?.send({ ack: this.head.version });
  }

  /** Fits both canvases into the stage, the overlay at the screen's own resolution so that thin outlines stay crisp. */
  #layOut() {
    const [wide, high] = this.head.size;
    const stage = this.#stage;
    stage.style.setProperty("--ratio", wide / high);
    const scale = Math.min(stage.clientWidth / wide, stage.clientHeight / high);
    const width = Math.max(1, Math.floor(wide * scale));
    const height = Math.max(1, Math.floor(high * scale));
    for (const canvas of [this.#picture, this.#overlay]) {
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height}px`;
      canvas.style.left = `${Math.floor((stage.clientWidth - width) / 2)}px`;
      canvas.style.top = `${Math.floor((stage.clientHeight - height) / 2)}px`;
    }
    const dense = window.devicePixelRatio || 1;
    resize(this.#overlay, Math.round(width * dense), Math.round(height * dense));
    return (width * dense) / wide; // device pixels per picture pixel
  }

  #drawPicture() {
    const canvas = this.#picture;
    resize(canvas, this.#bitmap.width, this.#bitmap.height);
    canvas.getContext("2d", { alpha: false }).drawImage(this.#bitmap, 0, 0);
    this.#empty.hidden = true;
  }

  #drawOverlay() {
    const scale = this.#layOut();
    const canvas = this.#overlay;
    const { masks, boxes, labels } = this.#shown;
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, canvas.width, canvas.height);
    const line = Math.max(1.5, 1.5 * (window.devicePixelRatio || 1));
    this.head.objects.forEach((object, index) => {
      const strong = index === this.#chosen;
      pen.strokeStyle = pen.fillStyle = colour(object.class);
      pen.lineWidth = strong ? 2.5 * line : line;
      pen.lineJoin = "round";
      if (masks) drawMask(pen, object.outlines, scale, strong);
      if (boxes || strong || !object.outlines.length) {
        const [x0, y0, x1, y1] = object.box;
        pen.strokeRect(x0 * scale, y0 * scale, (x1 - x0) * scale, (y1 - y0) * scale);
      }
    });
    if (labels) for (const object of this.head.objects) drawLabel(pen, object, scale, canvas);
  }
}

function resize(canvas, width, height) {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
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
