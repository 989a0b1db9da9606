// A WebSocket to the server that comes back by itself, later each time, until it is closed here.

const FIRST = 500; // ms
const LONGEST = 8000;

export class Connection {
  #path;
  #tell;
  #socket = null;
  #retry = FIRST;
  #timer = 0;

  /** `tell` has `opened()`, `closed()` and `received(data)`. */
  constructor(path, tell) {
    this.#path = path;
    this.#tell = tell;
    this.#connect();
  }

  #connect() {
    const socket = new WebSocket(`ws://${location.host}${this.#path}`);
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.#retry = FIRST;
      this.#tell.opened();
    };
    socket.onmessage = ({ data }) => socket === this.#socket && this.#tell.received(data);
    socket.onclose = () => {
      if (socket !== this.#socket) return;
      this.#tell.closed();
      this.#timer = setTimeout(() => this.#connect(), this.#retry);
      this.#retry = Math.min(this.#retry * 2, LONGEST);
    };
  }

  send(words) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(words));
  }

  close() {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    socket.close();
  }
}
