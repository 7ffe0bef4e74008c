"use strict";

// The signed-in visitor's images: sends one, shows the latest, and polls while one is waiting.
// The form is on the page of signed-in visitors only.
if (document.getElementById("upload-form")) {
  const SECOND = 1000;
  const LATEST = 12;
  // A space at which no line ends.
  const TIED = "\u00a0";
  const url = document.getElementById("uploads").dataset.url;
  const form = document.getElementById("upload-form");
  const field = document.getElementById("image");
  const button = form.querySelector("button");
  const progress = document.getElementById("upload-progress");
  const fault = document.getElementById("upload-fault");
  const note = document.getElementById("uploads-note");
  const list = document.getElementById("images");

  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  function size(bytes) {
    if (bytes < 1000) return `${bytes}${TIED}bytes`;
    return bytes < 1e6 ? `${Math.round(bytes / 1000)}${TIED}kB` : `${(bytes / 1e6).toFixed(1)}${TIED}MB`;
  }

  // The error as text: the server's own message, if it sent one.
  function words(status, json, retryAfter) {
    if (status === 0) return "No connection: the image was not sent. Please try again.";
    if (status === 401 || (status === 403 && !json?.detail)) return "You are signed out. Reload the page and sign in.";
    if (status === 404) return "This site accepts no images.";
    const own = json?.detail ?? Object.values(json ?? {}).flat().join(" ");
    if (status === 413) return own || "The image is too large.";
    if (status === 429) return own || `Too many images at once. Please wait ${retryAfter ?? "a few"} seconds.`;
    return own || `The site could not accept the image (${status}). Please try again shortly.`;
  }

  function complain(text) {
    fault.textContent = text;
    fault.hidden = !text;
    field.setAttribute("aria-invalid", String(Boolean(text)));
  }

  const MADE = { done: "thumbnail is ready", failed: "no thumbnail" };
  // Queued or running.
  const waits = (upload) => !(upload.status in MADE);

  function frame(upload) {
    const inside = make("div", { className: "frame" });
    if (upload.thumbnail) inside.append(make("img", { src: upload.thumbnail, alt: upload.name, loading: "lazy" }));
    else if (waits(upload)) inside.append(make("span", { className: "waiting" }));
    return inside;
  }

  function caption(upload) {
    const facts = [upload.width && `${upload.width}${TIED}×${TIED}${upload.height}`, upload.bytes && size(upload.bytes)];
    const lines = make("div", { className: "caption" }, make("strong", { textContent: upload.name, title: upload.name }));
    lines.append(make("span", { textContent: facts.filter(Boolean).join(" · ") }));
    if (upload.status === "failed") lines.append(make("span", { className: "fault", textContent: upload.error || MADE.failed }));
    else if (waits(upload)) lines.append(make("span", { textContent: "thumbnail is being made" }));
    else if (upload.sha256) lines.append(make("code", { textContent: `${upload.sha256.slice(0, 12)}…`, title: `SHA-256 ${upload.sha256}` }));
    return lines;
  }

  // An entry that has not changed stays as it is, so that no image flickers.
  function entry(upload) {
    const key = `${upload.id} ${upload.status} ${upload.thumbnail ? "with" : "without"}`;
    const known = [...list.children].find((item) => item.dataset.key === key);
    if (known) return known;
    const item = make("li", {}, frame(upload), caption(upload));
    item.dataset.key = key;
    item.dataset.waits = waits(upload);
    return item;
  }

  function show(uploads) {
    const waiting = new Set([...list.children].filter((item) => item.dataset.waits === "true").map((item) => item.dataset.key.split(" ")[0]));
    const ended = uploads.filter((upload) => !waits(upload) && waiting.has(String(upload.id)));
    list.replaceChildren(...uploads.slice(0, LATEST).map(entry));
    if (ended.length) note.textContent = ended.map((upload) => `${upload.name}: ${MADE[upload.status]}`).join(", ");
    else if (!uploads.length) note.textContent = "None yet.";
    else if (note.textContent === "None yet.") note.textContent = "";
  }

  const waiting = () => list.querySelector("[data-waits=true]") !== null;

  async function renew() {
    const { status, json } = await ask(url);
    if (status === 200) show(json.results ?? json);
    else if (status === 404) note.textContent = "This site accepts no images.";
    else if (status === 401 || status === 403) note.textContent = "You are signed out. Reload the page and sign in.";
    else note.textContent = "Your images cannot be shown at the moment.";
    // Nothing is waiting, or nothing is to be had.
    heart.paused = (status === 200 && !waiting()) || [401, 403, 404].includes(status);
    form.hidden = status === 404;
    return status === 200;
  }

  const heart = new Heartbeat(renew, SECOND);

  function ended(request) {
    button.disabled = false;
    progress.hidden = true;
    let json = null;
    try {
      json = JSON.parse(request.responseText);
    } catch {
      // An answer of a proxy on the way; the status says enough.
    }
    if (request.status !== 201) return complain(words(request.status, json, request.getResponseHeader("Retry-After")));
    form.reset();
    note.textContent = `${json.name} is uploaded.`;
    list.prepend(entry(json));
    heart.pause(false);
  }

  // Not fetch: it does not report upload progress.
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    complain("");
    const request = new XMLHttpRequest();
    request.open("POST", url);
    request.setRequestHeader("Accept", "application/json");
    request.upload.addEventListener("progress", ({ loaded, total }) => { progress.value = (100 * loaded) / total; });
    request.addEventListener("loadend", () => ended(request));
    progress.value = 0;
    progress.hidden = false;
    button.disabled = true;
    request.send(new FormData(form));
  });

  heart.soon();
}
