"use strict";
const put = (id, text) => (document.getElementById(id).textContent = text);

// What was offered at the first visit, in a cookie of the feature's own: it may be wrong after a recovery.
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

// The push script says so, once what the browser has cached is new.
document.addEventListener("maintenance:recovered", (event) => {
  event.preventDefault();
  draw();
});
draw();
