"use strict";

// The strip of the last answers: which server, and how fast.
const Answers = {
  LENGTH: 20,
  // The slowest answer that a bar can show; the scale is logarithmic.
  TALLEST: 2000,
  strip: document.getElementById("strip"),
  tally: document.getElementById("tally"),
  last: document.getElementById("last-answer"),
  // The turns that the diagram gives to the servers; others come after.
  turns: new Map([...document.querySelectorAll("[data-server]")].map((box) => [box.dataset.server, box.dataset.turn])),

  // Adds an answer; `server` is null where none came.
  add(server, milliseconds) {
    if (server && !Answers.turns.has(server)) Answers.turns.set(server, String(Answers.turns.size + 1));
    Answers.strip.append(Answers.item(server, milliseconds));
    while (Answers.strip.children.length > Answers.LENGTH) Answers.strip.firstChild.remove();
    Answers.count();
    for (const box of document.querySelectorAll(".server")) {
      box.classList.toggle("latest", server !== null && box.dataset.server === server);
    }
    Answers.last.textContent = server ? `Last answer: ${server}, in ${milliseconds} ms` : "The last request was not answered.";
  },

  item(server, milliseconds) {
    const item = document.createElement("li");
    const label = document.createElement("span");
    const bar = document.createElement("span");
    item.dataset.answer = server ?? "";
    if (server) item.dataset.turn = Answers.turns.get(server);
    item.classList.toggle("failed", server === null);
    item.title = server ? `${server}, ${milliseconds} ms` : "no answer";
    label.textContent = server ? Answers.turns.get(server) : "×";
    label.setAttribute("aria-label", item.title);
    label.setAttribute("role", "img");
    bar.className = "bar";
    const share = Math.log1p(milliseconds) / Math.log1p(Answers.TALLEST);
    bar.style.setProperty("--tall", server ? `${Math.round(8 + 77 * Math.min(share, 1))}%` : "85%");
    item.append(label, bar);
    return item;
  },

  count() {
    const counts = new Map([...Answers.turns.keys()].map((server) => [server, 0]));
    for (const item of Answers.strip.children) counts.set(item.dataset.answer, (counts.get(item.dataset.answer) ?? 0) + 1);
    Answers.tally.replaceChildren(...[...counts].map(([server, count]) => {
      const line = document.createElement("li");
      if (server) line.dataset.turn = Answers.turns.get(server);
      line.textContent = server ? `${Answers.turns.get(server)} · ${server}: ${count}` : `× · no answer: ${count}`;
      return line;
    }));
  },
};
