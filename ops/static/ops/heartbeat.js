"use strict";

const GIVE_UP_AFTER = 5000;

// Fetches JSON. `json` is null if the response is not JSON; `status` is 0 without a response.
async function ask(path, options = {}) {
  const started = performance.now();
  const since = () => Math.round(performance.now() - started);
  try {
    const signal = AbortSignal.timeout(GIVE_UP_AFTER);
    const response = await fetch(path, { cache: "no-store", signal, ...options });
    const json = await response.json().catch(() => null);
    return { status: response.status, json, milliseconds: since() };
  } catch {
    return { status: 0, json: null, milliseconds: since() };
  }
}

// Does `beat` again and again: one at a time, not while the page is hidden or paused, and less and less
// often while it returns false.
class Heartbeat {
  static LONGEST = 15000;

  constructor(beat, milliseconds) {
    this.beat = beat;
    this.usual = this.wait = milliseconds;
    this.paused = false;
    this.beating = false;
    document.addEventListener("visibilitychange", () => this.soon());
    window.addEventListener("online", () => this.soon());
    window.addEventListener("offline", () => this.soon());
  }

  // Whether the page is visible.
  get watched() {
    return !this.paused && !document.hidden;
  }

  // The next beat is now, unless the page is hidden.
  soon() {
    clearTimeout(this.timer);
    this.wait = this.usual;
    if (this.watched && !this.beating) this.now();
  }

  async now() {
    this.beating = true;
    const answered = await this.beat();
    this.beating = false;
    this.wait = answered ? this.usual : Math.min(this.wait * 2, Heartbeat.LONGEST);
    clearTimeout(this.timer);
    if (this.watched) this.timer = setTimeout(() => this.now(), this.wait);
  }

  pause(paused) {
    this.paused = paused;
    this.soon();
  }
}
