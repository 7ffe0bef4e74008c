"use strict";

// Counts this opening of the page, once. A signed-in browser has to show the page's token.
{
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
