"use strict";

// The diagram of the stack, the headline and the facts: shows a report of /status/report/.
const Stack = {
  WORDS: { up: "Up", draining: "Draining", down: "Down", unknown: "Unknown" },
  page: document.documentElement,
  announcer: document.getElementById("announcer"),
  overall: document.getElementById("overall"),
  headline: document.getElementById("headline"),

  // Sets one state; a change is also said to those who do not see it.
  set(element, name, state, word = Stack.WORDS[state]) {
    const shown = element?.querySelector(".state");
    if (!shown || (shown.dataset.state === state && shown.lastChild.textContent === word)) return;
    const before = shown.dataset.state;
    shown.dataset.state = state;
    shown.querySelector(".word").textContent = word;
    if (before !== "unknown" && state !== "unknown") Stack.say(`${name}: ${word.toLowerCase()}`);
  },

  say(text) {
    const recent = performance.now() - (Stack.said ?? -Infinity) < 1000;
    Stack.announcer.textContent = recent ? `${Stack.announcer.textContent}, ${text}` : text;
    Stack.said = performance.now();
  },

  server(name) {
    return document.querySelector(`[data-server="${CSS.escape(name ?? "")}"]`);
  },

  // Each server says its own; while a release goes out they differ.
  release(name, release) {
    const shown = Stack.server(name)?.querySelector(".release");
    if (shown && release) shown.textContent = release;
  },

  show(report) {
    for (const server of report.servers) {
      const box = Stack.server(server.name);
      Stack.set(box, server.name ?? "the server", server.state);
      if (box) box.querySelector(".detail").textContent = server.detail ?? server.address ?? "";
    }
    for (const [name, component] of Object.entries(report.components)) {
      const line = document.querySelector(`[data-component="${CSS.escape(name)}"]`);
      Stack.set(line, name, component.status);
      if (line) line.querySelector(".detail").textContent = component.error ?? component.detail ?? "";
    }
    // For the scripts of cards: each shows its own part.
    document.dispatchEvent(new CustomEvent("report", { detail: report }));
    Stack.setHeadline(report.status, report.status === "up" ? "The site is up" : "The site is up, but a component is down");
  },

  setHeadline(state, text) {
    Stack.overall.dataset.state = state;
    if (Stack.headline.textContent === text) return;
    Stack.headline.textContent = text;
    Stack.say(text);
  },

  // What the browser knows from the status of its last request: 0 for no response.
  connection(status) {
    const client = document.getElementById("client");
    const reached = status !== 0;
    const served = reached && ![502, 503, 504].includes(status);
    Stack.page.classList.toggle("stale", !served);
    Stack.set(client, "this browser", reached ? "up" : "down", reached ? "Connected" : "No connection");
    Stack.set(document.getElementById("balancer"), "HAProxy", reached ? "up" : "unknown");
    if (served) return;
    Stack.setHeadline("down", reached ? "No server answers" : "No connection");
    const state = reached ? "down" : "unknown";
    for (const box of document.querySelectorAll("[data-server]")) Stack.set(box, box.dataset.server, state);
    for (const line of document.querySelectorAll("[data-component]")) Stack.set(line, line.dataset.component, "unknown");
  },
};
