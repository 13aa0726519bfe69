"use strict";
const put = (id, text) => (document.getElementById(id).textContent = text);

// The cookie holds the offer of the first visit. After a recovery that offer may be wrong.
const offer = (first) => {
  const known = /(?:^|; )offer=([^;]*)/.exec(document.cookie);
  if (!known) document.cookie = `offer=${encodeURIComponent(first)}; Path=/; SameSite=Lax`;
  put("offer", `Offered to you: ${known ? decodeURIComponent(known[1]) : first}`);
};

const draw = async () => {
  const answer = await fetch("/billing/prices");
  if (!answer.ok) {
    put("note", `No prices at the moment (${answer.status}).`);
    return;
  }
  const { currency, basic, pro } = await answer.json();
  put("basic", `${basic} ${currency}`);
  put("pro", `${pro} ${currency}`);
  const kept = answer.headers.has("cache-status");
  put("note", kept ? `Prices as they were ${answer.headers.get("age")} s ago.` : "");
  offer(`Basic for ${basic} ${currency}`);
};

// The push script dispatches this event after it has refetched what the browser has cached.
document.addEventListener("maintenance:recovered", (event) => {
  event.preventDefault();
  draw();
});
draw();
