// Sliders whose values the server has: moved here, sent there, and put where another page has moved them.

/** Asks the server for a change; gives why it was refused, null where it was not. */
export async function request(method, path, body) {
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

export class Sliders {
  #path;
  #parts;
  #complain;
  #wanted = {}; // values not yet taken by the server
  #sending = false;

  /** `parts` has an `input` and an `output` for each setting; `complain` is told why a change failed, null if not. */
  constructor(path, parts, complain) {
    this.#path = path;
    this.#parts = parts;
    this.#complain = complain;
    for (const [name, { input, output }] of Object.entries(parts)) {
      input.addEventListener("input", () => {
        this.#wanted[name] = Number(input.value);
        output.textContent = this.#wanted[name].toFixed(2);
        this.#send();
      });
    }
  }

  /** Shows the values in force; a slider that is being moved stays where it is. */
  show(settings) {
    for (const [name, { input, output }] of Object.entries(this.#parts)) {
      output.textContent = settings[name].toFixed(2);
      if (!(name in this.#wanted) && !input.matches(":active")) input.value = settings[name];
    }
  }

  /** One request at a time: while a slider moves, only the newest value waits. */
  async #send() {
    if (this.#sending) return;
    this.#sending = true;
    while (Object.keys(this.#wanted).length) {
      const body = { ...this.#wanted };
      const trouble = await request("PATCH", this.#path, body);
      for (const name of Object.keys(body)) if (this.#wanted[name] === body[name]) delete this.#wanted[name];
      this.#complain(trouble);
    }
    this.#sending = false;
  }
}
