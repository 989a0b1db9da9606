// One camera among many: its live picture, small, and how it is doing. A picture that is old never looks like a live one.

import { LivePicture } from "./live.js";
import { say } from "./words.js";

const STATES = {
  NOT_STARTED: "Not started",
  CONNECTING: "Connecting",
  RUNNING: "Running",
  STALLED: "Stalled",
  BACKOFF: "Waits to try again",
  ENDED: "Ended",
};
const SMALL = { masks: true, boxes: false, labels: false };

/** A length of time in words: seconds, minutes or hours. */
function lasting(seconds) {
  const [unit, length] = seconds < 120 ? ["s", 1] : seconds < 7200 ? ["min", 60] : ["h", 3600];
  return say(`{count} ${unit}`, { count: Math.floor(seconds / length) }).replace(" ", "\u00a0");
}

/** Why the picture of a branch is not live, in the page's language; empty where it is, or where there is none. */
export function stillness(age, branch, connected) {
  if (age === null) return "";
  if (!connected) return say("Connection lost");
  if (branch.state === "ENDED") return say("Last picture");
  const old = branch.state !== "RUNNING" || age > branch.patience;
  return old ? say("No picture for {time}", { time: lasting(age) }) : "";
}

/** Parts of a branch that passed without a good look. */
function unseen({ counters }) {
  return counters ? counters.incomplete + counters.never_inspected + counters.failed : 0;
}

/** Writes only what has changed, so that nothing flickers and screen readers stay quiet. */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function element(name, className, ...content) {
  const made = document.createElement(name);
  made.className = className;
  made.append(...content);
  return made;
}

export class Tile {
  #branch;
  #live;
  #name = element("strong", "name");
  #badge = element("span", "badge");
  #figures = element("span", "figures");
  #alarm = element("span", "alarm");
  #empty = element("span", "empty");
  #still = element("span", "still");

  constructor(branch, choose) {
    this.#branch = branch;
    const stage = element("span", "stage", element("canvas", ""), element("canvas", ""), this.#empty, this.#still);
    const caption = element("span", "caption", this.#name, this.#badge, this.#figures, this.#alarm);
    this.root = element("button", "tile", stage, caption);
    this.root.type = "button";
    this.root.addEventListener("click", () => choose(branch.id));
    this.#live = new LivePicture(stage, SMALL);
  }

  open() {
    this.#live.open(`/ws/${this.#branch.id}?size=small`);
  }

  close() {
    this.#live.close();
  }

  /** Shows what the server says about the branch; `name` is what it is called. */
  show(branch, name, chosen) {
    this.#branch = branch;
    put(this.#name, name);
    put(this.#empty, say("No picture yet"));
    this.root.setAttribute("aria-pressed", chosen);
  }

  /** Shows how old the picture is by now. */
  tick(connected) {
    const branch = this.#branch;
    const age = this.#live.age();
    const still = stillness(age, branch, connected);
    put(this.#still, still);
    this.#still.hidden = !still;
    this.root.dataset.still = Boolean(still);
    this.root.dataset.state = connected ? branch.state : "LOST";
    put(this.#badge, connected ? say(STATES[branch.state]) : say("Connection lost"));
    this.#badge.dataset.state = this.root.dataset.state;
    const rate = branch.fps === null || still ? "–" : branch.fps.toFixed(1);
    // Whole seconds: a page that nobody touches should have little to draw.
    const old = age === null ? "–" : say("{age} s old", { age: age < 1 ? "< 1" : Math.floor(age) });
    put(this.#figures, `${say("{rate} frames/s", { rate })} · ${old}`);
    const lost = unseen(branch);
    put(this.#alarm, lost ? say("{count} not inspected", { count: lost.toLocaleString("en") }) : "");
  }
}
