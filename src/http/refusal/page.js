(() => {
  "use strict";
  const main = document.getElementById("maintenance");
  const { every, notice, returns } = main.dataset;
  const check = main.dataset.check === "self" ? location.href : main.dataset.check;
  for (const time of document.querySelectorAll("time")) {
    try {
      time.textContent = new Date(time.dateTime).toLocaleString(document.documentElement.lang, {
        year: "numeric", month: "short", day: "numeric", hour: "numeric", minute: "2-digit", timeZoneName: "short",
      });
    } catch {
      // This browser does not know the language. The text from the server stays.
    }
  }
  if (!check) return;
  const worksAgain = () => {
    if (returns === "true") {
      location.reload();
      return;
    }
    const back = document.getElementById("back");
    back.href = document.referrer || "/";
    back.addEventListener("click", (event) => {
      if (history.length > 1) {
        event.preventDefault();
        history.back();
      }
    });
    document.getElementById("state").textContent = document.querySelector("#again span").textContent;
    document.querySelector("#again span").remove();
    document.getElementById("again").hidden = false;
  };
  const healthy = async () => {
    const asked = { cache: "no-store", redirect: "manual", headers: { accept: "text/html, */*;q=0.1" } };
    const answer = await fetch(check, asked);
    if (notice === "true") {
      if (!answer.ok) return false;
      const { state } = await answer.json();
      return state === "serving" || state === "announced" || (returns === "true" && state === "read_only");
    }
    // A redirect, for example to a login on another host. The browser follows it when the page reloads.
    if (answer.type === "opaqueredirect") return true;
    return answer.status < 500 && answer.status !== 408 && answer.status !== 425 && answer.status !== 429;
  };
  // From half of the interval to one and a half, so that open pages do not poll in the same second.
  const later = () => setTimeout(ask, Number(every) * (0.5 + Math.random()));
  const ask = async () => {
    if (document.hidden) {
      document.addEventListener("visibilitychange", later, { once: true });
      return;
    }
    try {
      if (await healthy()) return worksAgain();
    } catch {
      // The server cannot be reached. Poll again later.
    }
    later();
  };
  later();
})();
