// Following a job to its end: by event stream, by polling where the stream does not come through.

import { readJob } from "./api.js";

export const ENDED = new Set(["succeeded", "failed", "cancelled"]);
const POLL = 700; // milliseconds between two looks
const PATIENCE = 2; // failures of the stream before polling takes over

/** Calls `show(job)` at every change and `trouble(mistake | null)` when the service stops or starts answering.
 *  Returns a function that stops following. */
export function follow(job, show, trouble) {
  let stopped = false;
  let stream = null;
  let failures = 0;

  function see(snapshot) {
    if (stopped) return;
    trouble(null);
    show(snapshot);
    if (ENDED.has(snapshot.status)) stop();
  }

  function stop() {
    stopped = true;
    if (stream) stream.close();
  }

  async function poll() {
    while (!stopped) {
      try {
        see(await readJob(job.links.self));
      } catch (mistake) {
        if (mistake.status === 404) stop();
        trouble(mistake);
      }
      await new Promise((resume) => setTimeout(resume, POLL));
    }
  }

  function listen() {
    stream = new EventSource(job.links.events);
    stream.addEventListener("job", (event) => {
      failures = 0;
      see(JSON.parse(event.data));
    });
    stream.addEventListener("error", () => {
      failures += 1;
      if (stopped || (failures < PATIENCE && stream.readyState !== EventSource.CLOSED)) return;
      stream.close();
      poll();
    });
  }

  if ("EventSource" in window) listen();
  else poll();
  return stop;
}
