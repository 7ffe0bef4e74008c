"use strict";

// Keeps the page alive: which server answers, every second; the whole state, every other second.
{
  const SECOND = 1000;
  const paths = document.getElementById("stack").dataset;
  const button = document.getElementById("pause");
  let beats = 0;
  let asking = false;
  let forbidden = false;

  function note({ status, json, milliseconds }) {
    Answers.add(status === 200 ? json?.server ?? null : null, milliseconds);
    Stack.connection(status);
    Stack.release(json?.server, (json?.profile ?? json)?.release);
    return status === 200;
  }

  async function renew() {
    asking = true;
    const answer = await ask(paths.status);
    asking = false;
    // Signed out meanwhile: what was shown is no longer ours to see.
    forbidden = answer.status === 401 || answer.status === 403;
    if (forbidden) return Stack.setHeadline("down", "You are signed out. Reload the page.");
    if (note(answer)) Stack.show(answer.json);
  }

  async function beat() {
    // Without the session, which would be a query; so it answers while the database is down as well.
    const answered = note(await ask(paths.profile, { credentials: "omit" }));
    // Meanwhile it may have been paused or hidden.
    if (answered && heart.watched && !asking && !forbidden && beats++ % 2 === 0) renew();
    return answered;
  }

  const heart = new Heartbeat(beat, SECOND);
  button.hidden = false;
  button.addEventListener("click", () => {
    const paused = !heart.paused;
    button.textContent = paused ? "Resume" : "Pause";
    heart.pause(paused);
  });
  heart.soon();
}
