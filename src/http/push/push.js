(() => {
  "use strict";
  const { dataset, src } = document.currentScript;
  const url = dataset.url ? new URL(dataset.url, location.href).href : new URL("events", src).href;
  const key = `maintenance ${url}`;
  const channel = window.BroadcastChannel && new BroadcastChannel(key);
  const say = (data) => channel?.postMessage(data);
  // The generation that this page shows; 0 while nobody has said.
  let known = Number(dataset.generation) || 0;
  let newest, healing, healed, source, stop, timer, heard, beat;
  let tries = 0;
  const hears = () => (heard = Date.now());
  const nap = (most) => new Promise((done) => setTimeout(done, Math.random() * most));

  // The generation for which this browser has refetched, whichever tab did.
  const refetched = (generation) => {
    if (generation) healed = generation;
    try {
      if (generation) localStorage.setItem(key, generation);
      return Number(localStorage.getItem(key));
    } catch {
      return healed;
    }
  };
  // A page is no newer than what the browser has cached for it.
  if (refetched() && !(known < refetched() && known)) known = refetched();
  const redraw = (detail) => {
    const { generation } = detail;
    if (generation <= known) return;
    const learnt = !known && !detail.healed;
    known = generation;
    if (learnt) return;
    const event = new CustomEvent("maintenance:recovered", { detail, cancelable: true });
    if (!document.dispatchEvent(event) || dataset.reload === undefined) return;
    try {
      // Once: what is loaded may itself come from a cache.
      if (Number(sessionStorage.getItem(key)) === generation) return;
      sessionStorage.setItem(key, generation);
      location.reload();
    } catch {
      // Without storage it might reload for ever.
    }
  };
  const refetch = async (each, most) => {
    for (let n = 1; ; n++) {
      try {
        const to = new URL(each, location.href);
        if (to.origin !== location.origin) return;
        // `AbortSignal.timeout` is younger than some browsers.
        const cut = new AbortController();
        setTimeout(() => cut.abort(), Number(dataset.timeout) || 30000);
        const answer = await fetch(to, { cache: "reload", signal: cut.signal });
        // To its end, or it is not stored.
        await answer.blob();
        if (answer.ok) return;
      } catch {
        // As an answer that is not ok.
      }
      if (n === 3) throw each;
      await nap(most);
    }
  };
  const heal = async () => {
    const { generation, urls, spread_ms: most } = newest;
    if (healing === generation) return;
    healing = generation;
    const failed = [];
    if (refetched() !== generation) await nap(most);
    // Meanwhile another tab may have done it, or a newer one begun.
    if (healing !== generation) return;
    if (refetched() !== generation) {
      await Promise.all(urls.map((each) => refetch(each, most).catch(() => failed.push(each))));
      if (!failed.length) refetched(generation);
    }
    if (healing === generation) healing = 0;
    const told = { generation, urls, failed, healed: true };
    say(told);
    redraw(told);
  };
  const hear = ({ data }) => {
    hears();
    newest = JSON.parse(data);
    const { generation } = newest;
    if (known && generation > known) return heal();
    refetched(generation);
    redraw(newest);
    say(newest);
  };

  const close = () => {
    clearTimeout(timer);
    source?.close();
    source = undefined;
  };
  const connect = () => {
    close();
    hears();
    source = new EventSource(url);
    source.addEventListener("hello", hear);
    source.addEventListener("recovered", hear);
    source.addEventListener("beat", ({ data }) => {
      hears();
      beat = Number(data);
    });
    source.onopen = () => {
      hears();
      tries = 0;
    };
    source.onerror = () => {
      hears();
      // Unless it is closed (2), the browser tries again by itself.
      if (source.readyState < 2) return;
      timer = setTimeout(connect, Math.min(60, 2 ** tries++) * (500 + Math.random() * 1000));
    };
  };
  // What is open (1), or connects (0), and says nothing is dead: after sleep, or in another network.
  const check = () => {
    if (source?.readyState < 2 && Date.now() - heard > 3 * (beat || 20000)) connect();
  };
  const ask = () => say({ ask: known });
  const start = () => {
    if (!navigator.locks) return connect();
    // One tab holds the lock and the connection; when it leaves, the next one does.
    const waiting = new AbortController();
    stop = () => waiting.abort();
    const lead = () => {
      connect();
      return new Promise((done) => (stop = done));
    };
    navigator.locks.request(key, { signal: waiting.signal }, lead).catch((error) => {
      if (error.name !== "AbortError") connect();
    });
    ask();
  };

  if (channel) channel.onmessage = ({ data }) => {
    if (data.ask === undefined) {
      if (data.healed || !known) redraw(data);
      else if (data.generation > known) ask();
      return;
    }
    check();
    if (!source || !newest) return;
    if (data.ask && data.ask < newest.generation) heal();
    else say(newest);
  };
  document.addEventListener("visibilitychange", () => document.hidden || (source ? check() : ask()));
  // A page with a connection is not kept for the way back.
  addEventListener("pagehide", () => {
    stop?.();
    close();
  });
  addEventListener("pageshow", ({ persisted }) => persisted && start());
  setInterval(check, 20000);
  start();
})();
