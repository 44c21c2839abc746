// Data that follows the server.

const EVERY_MS = 5000;

/**
 * Runs `load(refresh)` now and every few seconds, not while the page is hidden, until `signal` ends it.
 * `load` gets true when no person asked for it. Returns a function that runs it at once.
 */
export function follow(signal, load) {
  let timer = 0;
  let running = false;
  let wanted = false;

  async function run(refresh) {
    clearTimeout(timer);
    if (signal.aborted) return;
    if (running) {
      wanted = wanted || !refresh;
      return;
    }
    running = true;
    try {
      await load(refresh);
    } catch (error) {
      if (error.name !== "AbortError") throw error;
    } finally {
      running = false;
      if (!signal.aborted) next();
    }
  }

  function next() {
    const now = wanted;
    wanted = false;
    if (now) run(false);
    else timer = setTimeout(() => (document.hidden ? wait() : run(true)), EVERY_MS);
  }

  function wait() {
    document.addEventListener("visibilitychange", () => run(true), { once: true, signal });
  }

  signal.addEventListener("abort", () => clearTimeout(timer));
  run(false);
  return () => run(false);
}
