(() => {
  "use strict";
  const { dataset, src } = document.currentScript;
  const url = dataset.url ? new URL(dataset.url, location) : new URL("events", src);
  const key = `maintenance ${url}`;
  // A page may have it twice, or run it again with a new body: once will do.
  if (window[key]) return;
  window[key] = true;
  let channel;
  try {
    channel = new BroadcastChannel(key);
  } catch {
    // Some browsers refuse where they block storage: each tab for itself then.
  }
  const say = (data) => channel?.postMessage(data);
  // The generation that this page shows; 0 while nobody has said.
  let known = +dataset.generation || 0;
  let newest, missed, healing, healed, source, stop, timer, heard, beat, again;
  let tries = 0;
  const hears = () => (heard = Date.now());
  const nap = (most) => new Promise((done) => setTimeout(done, Math.random() * most));

  // The generation for which this browser has fetched, whichever tab did.
  const fetched = (generation) => {
    if (generation) healed = generation;
    try {
      if (generation) localStorage.setItem(key, generation);
      return +localStorage.getItem(key);
    } catch {
      return healed;
    }
  };
  // A page is no newer than what the browser has cached for it.
  if (fetched() && !(known < fetched() && known)) known = fetched();
  const redraw = (detail) => {
    const { generation, failed } = detail;
    // Once more if not all could be fetched then.
    if (!(generation > known || (missed && generation === known))) return;
    const learnt = !known && !detail.healed;
    known = generation;
    missed = failed?.length;
    if (learnt) return;
    const event = new CustomEvent("maintenance:recovered", { detail, cancelable: true });
    if (!document.dispatchEvent(event) || dataset.reload === undefined) return;
    try {
      // Once: what is loaded may itself come from a cache. And once before that, if not all could be fetched.
      const mark = missed ? -generation : generation;
      if ([generation, mark].includes(+sessionStorage.getItem(key))) return;
      sessionStorage.setItem(key, mark);
      location.reload();
    } catch {
      // Without storage it might reload for ever.
    }
  };
  const refetch = async (each, most) => {
    for (let n = 1; ; n++) {
      try {
        const to = new URL(each, location);
        if (to.origin !== location.origin) return;
        // `AbortSignal.timeout` is younger than some browsers.
        const cut = new AbortController();
        setTimeout(() => cut.abort(), +dataset.timeout || 3e4);
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
    // Nothing while only other tabs have spoken: the `hello` that comes will say.
    const { generation, urls, spread_ms: most } = newest ?? {};
    if (healing === generation) return;
    healing = generation;
    const failed = [];
    if (fetched() !== generation) await nap(most);
    // Meanwhile another tab may have done it, or a newer one begun.
    if (healing !== generation) return;
    if (fetched() !== generation) {
      await Promise.all(urls.map((each) => refetch(each, most).catch(() => failed.push(each))));
      if (!failed.length) fetched(generation);
    }
    if (healing === generation) healing = 0;
    const told = { generation, urls, failed, healed: true };
    say(told);
    redraw(told);
  };
  const hear = ({ data }) => {
    hears();
    again = 0;
    newest = JSON.parse(data);
    const { generation } = newest;
    if (known && (generation > known || (missed && generation === known))) return heal();
    fetched(generation);
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
      beat = +data;
      // The replica that answers may be back later than the one that told: at the 1st, 2nd, 4th, 8th and 16th.
      if (missed && ++again < 17 && !(again & (again - 1))) heal();
    });
    source.onopen = () => {
      hears();
      tries = 0;
      // The network is back, and who knows all gets no event.
      if (missed) heal();
    };
    source.onerror = () => {
      hears();
      // Unless it is closed (2), the browser tries again by itself.
      if (source.readyState < 2) return;
      timer = setTimeout(connect, Math.min(60, 2 ** tries++) * (500 + Math.random() * 1e3));
    };
  };
  // What is open (1), or connects (0), and says nothing is dead: after sleep, or in another network.
  const check = () => {
    if (source?.readyState < 2 && Date.now() - heard > 3 * (beat || 2e4)) connect();
  };
  const ask = () => {
    say({ ask: known });
    if (source) return;
    clearTimeout(timer);
    // The tab with the connection may be frozen: who is looked at does not wait for it.
    timer = setTimeout(() => document.hidden || start(true), 5e3);
  };
  const start = (steal) => {
    if (!navigator.locks || !channel) return connect();
    stop?.();
    // One tab holds the lock and the connection; when it leaves, the next one does.
    const cut = new AbortController();
    const { signal } = cut;
    stop = () => cut.abort();
    const lead = () => {
      connect();
      return new Promise((done) => (stop = done));
    };
    navigator.locks.request(key, steal ? { steal } : { signal }, lead).catch((error) => {
      if (signal.aborted) return;
      close();
      // Another tab has taken it, or there are no locks here.
      error.name === "AbortError" ? start() : connect();
    });
    ask();
  };

  if (channel) channel.onmessage = ({ data }) => {
    if (data.ask === undefined) {
      if (!source) clearTimeout(timer);
      if (data.healed || !known) redraw(data);
      else if (data.generation > known) ask();
      return;
    }
    check();
    // A tab that is frozen hears, and cannot heal: then its timers stand still, and it does not answer.
    if (source) setTimeout(() => {
      const behind = data.ask && data.ask < newest?.generation;
      say((!behind && newest) || {});
      if (behind) heal();
    });
  };
  document.addEventListener("visibilitychange", () => document.hidden || (source ? check() : ask()));
  // A page with a connection is not kept for the way back.
  addEventListener("pagehide", () => {
    stop?.();
    close();
  });
  addEventListener("pageshow", ({ persisted }) => persisted && start());
  setInterval(check, 2e4);
  start();
})();
