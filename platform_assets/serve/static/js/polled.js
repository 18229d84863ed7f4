/** Something that is asked again and again while it is looked at. Belongs here: the clock and the states, not what is asked. */
export class Polled {
  /** `fetch()` answers a promise; `changed()` is told of each answer. */
  constructor(fetch, changed, everyMs) {
    Object.assign(this, { fetch, changed, everyMs, found: null, problem: null, timer: 0, on: false, turn: 0 });
  }

  start() {
    this.on = true;
    this.again();
  }

  stop() {
    this.on = false;
    clearTimeout(this.timer);
  }

  /** Ask now. An answer to an earlier question is not taken. */
  again = async () => {
    clearTimeout(this.timer);
    const turn = ++this.turn;
    if (!document.hidden || this.found === null) {
      const [found, problem] = await this.fetch().then(
        (one) => [one, null],
        (error) => [null, error],
      );
      if (turn !== this.turn || !this.on) return;
      if (found) this.found = found;
      this.problem = problem;
      this.changed();
    }
    this.timer = setTimeout(this.again, this.everyMs);
  };
}
