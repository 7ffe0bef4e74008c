"use strict";

// Counts this opening of the page, once, and shows the count. A signed-in browser has to show the page's token.
{
  document.addEventListener("report", ({ detail: { visits } }) => {
    const number = document.getElementById("visits");
    number.textContent = visits?.toLocaleString("en") ?? "not known";
    number.classList.toggle("unknown", visits === null);
  });
  const token = document.querySelector("[name=csrfmiddlewaretoken]");
  const headers = token ? { "X-CSRFToken": token.value } : {};
  fetch("/api/hits/", { method: "POST", headers })
    .then((response) => (response.ok ? response.json() : null))
    .then((counted) => {
      const number = document.getElementById("visits");
      if (number && counted) number.textContent = counted.hits.toLocaleString("en");
    })
    .catch(() => {}); // a visit that is not counted is no reason to bother the visitor
}
