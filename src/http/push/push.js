(() => {
  "use strict";
  const { dataset, src } = document.currentScript;
  const url = dataset.url ? new URL(dataset.url, location) : new URL("events", src);
  const key = `maintenance ${url}`;
  // A page may include this script twice, or run it again when it replaces its body.
  if (window[key]) return;
  window[key] = true;
  let channel;
  try {
    channel = new BroadcastChannel(key);
  } catch {
    // Some browsers refuse the channel where they block storage. Each tab then works alone.
  }
  const say = (data) => channel?.postMessage(data);
  // The generation that this page shows; 0 until it is known.
  let known = +dataset.generation || 0;
  let newest, missed, healing, healed, source, stop, timer, heard, beat, again;
  let tries = 0;
  const hears = () => (heard = Date.now());
  const nap = (most) => new Promise((done) => setTimeout(done, Math.random() * most));

  // The newest generation that this browser has fetched, in any of its tabs.
  const fetched = (generation) => {
    if (generation) healed = generation;
    try {
      if (generation) localStorage.setItem(key, generation);
      return +localStorage.getItem(key);
    } catch {
      return healed;
    }
  };
  // A page is not newer than the data that the browser has cached for it.
  if (fetched() && !(known < fetched() && known)) known = fetched();
  const redraw = (detail) => {
    const { generation, failed } = detail;
    // A generation is handled twice only if some URLs could not be fetched the first time.
    if (!(generation > known || (missed && generation === known))) return;
    const learnt = !known && !detail.healed;
    known = generation;
    missed = failed?.length;
    if (learnt) return;
    const event = new CustomEvent("maintenance:recovered", { detail, cancelable: true });
    if (!document.dispatchEvent(event) || dataset.reload === undefined) return;
    try {
      // Once per generation, for the reloaded page may itself come from a cache. If some URLs
      // could not be fetched, one reload more, which has a mark of its own.
      const mark = missed ? -generation : generation;
      if ([generation, mark].includes(+sessionStorage.getItem(key))) return;
      sessionStorage.setItem(key, mark);
      location.reload();
    } catch {
      // Without storage there is no mark, and the page might reload for ever.
    }
  };
  const refetch = async (each, most) => {
    for (let n = 1; ; n++) {
      try {
        const to = new URL(each, location);
        if (to.origin !== location.origin) return;
        // Some browsers do not have `AbortSignal.timeout`.
        const cut = new AbortController();
        setTimeout(() => cut.abort(), +dataset.timeout || 3e4);
        const answer = await fetch(to, { cache: "reload", signal: cut.signal });
        // The browser stores only a body that is read to its end.
        await answer.blob();
        if (answer.ok) return;
      } catch {
        // The same as a response that is not ok.
      }
      if (n === 3) throw each;
      await nap(most);
    }
  };
  const heal = async () => {
    // `newest` is missing while only other tabs have sent something. The `hello` that follows
    // then has the data.
    const { generation, urls, spread_ms: most } = newest ?? {};
    if (healing === generation) return;
    healing = generation;
    const failed = [];
    if (fetched() !== generation) await nap(most);
    // Meanwhile another tab may have fetched this generation, or a newer one may have come.
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
      // The replica that answers may recover later than the replica that sent the event. So the
      // 1st, 2nd, 4th, 8th and 16th beat try again.
      if (missed && ++again < 17 && !(again & (again - 1))) heal();
    });
    source.onopen = () => {
      hears();
      tries = 0;
      // The network is back, and a browser that knows the generation gets no event for it.
      if (missed) heal();
    };
    source.onerror = () => {
      hears();
      // Unless the source is closed (2), the browser reconnects by itself.
      if (source.readyState < 2) return;
      timer = setTimeout(connect, Math.min(60, 2 ** tries++) * (500 + Math.random() * 1e3));
    };
  };
  // A source that is open (1) or connecting (0) and silent is dead: the machine has slept, or is
  // in another network.
  const check = () => {
    if (source?.readyState < 2 && Date.now() - heard > 3 * (beat || 2e4)) connect();
  };
  const ask = () => {
    say({ ask: known });
    if (source) return;
    clearTimeout(timer);
    // The tab with the connection may be frozen. A visible tab does not wait for it.
    timer = setTimeout(() => document.hidden || start(true), 5e3);
  };
  const start = (steal) => {
    if (!navigator.locks || !channel) return connect();
    stop?.();
    // One tab holds the lock and the connection. When it is closed, the next tab gets both.
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
      // Another tab has taken the lock, or locks do not work here.
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
    // A frozen tab may receive a message, but its timers do not run, so that it neither fetches nor
    // answers. The answer is sent from a timer for that reason.
    if (source) setTimeout(() => {
      const behind = data.ask && data.ask < newest?.generation;
      say((!behind && newest) || {});
      if (behind) heal();
    });
  };
  document.addEventListener("visibilitychange", () => document.hidden || (source ? check() : ask()));
  // Browsers do not keep a page with a connection in the back/forward cache.
  addEventListener("pagehide", () => {
    stop?.();
    close();
  });
  addEventListener("pageshow", ({ persisted }) => persisted && start());
  setInterval(check, 2e4);
  start();
})();
