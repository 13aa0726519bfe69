(() => {
  "use strict";
  const script = document.currentScript;
  const url = script.dataset.url || new URL("notice.json", script.src).href;
  const styles = {
    display: "flex", gap: "1rem", alignItems: "baseline", justifyContent: "center", flexWrap: "wrap",
    padding: "0.625rem 1rem", font: "1rem/1.4 system-ui, sans-serif", color: "#3b2300", background: "#ffe3b8",
    borderBottom: "1px solid #b45f06",
  };
  let banner;
  let shown = "";
  let state = "";
  // The notice that was hidden. It is kept per tab, or per page if storage is not allowed.
  let kept;
  const hidden = (key) => {
    try {
      if (key) sessionStorage.setItem("maintenance-notice", key);
      return sessionStorage.getItem("maintenance-notice");
    } catch {
      if (key) kept = key;
      return kept;
    }
  };
  const remove = () => {
    banner?.remove();
    banner = undefined;
  };
  const element = (name, text) => {
    const made = document.createElement(name);
    made.textContent = text;
    return made;
  };
  // "Nov 21, 8:56 – 9:26 AM UTC": in the reader's own time zone, with the name of the zone.
  const times = ({ starts, ends }) => {
    if (!starts && !ends) return "";
    const form = { month: "short", day: "numeric", hour: "numeric", minute: "2-digit", timeZoneName: "short" };
    let format;
    try {
      format = new Intl.DateTimeFormat(document.documentElement.lang || undefined, form);
    } catch {
      // The document's `lang` is no language tag, for example `en_US`.
      format = new Intl.DateTimeFormat(undefined, form);
    }
    if (starts && ends) return ` (${format.formatRange(new Date(starts), new Date(ends))})`;
    if (starts) return ` (${format.format(new Date(starts))} – )`;
    return ` ( – ${format.format(new Date(ends))})`;
  };
  const show = (said) => {
    const { notice } = said;
    const key = notice ? JSON.stringify([said.state, notice]) : "";
    if (key === shown) return;
    remove();
    if (!notice || hidden() === key) {
      shown = key;
      return;
    }
    banner = element("aside", "");
    banner.className = "maintenance-notice";
    Object.assign(banner.style, styles);
    const text = element("p", "");
    text.setAttribute("role", "status");
    text.style.margin = "0";
    banner.append(text);
    if (said.status_url) {
      const link = element("a", new URL(said.status_url).host);
      link.href = said.status_url;
      link.style.color = "inherit";
      banner.append(link);
    }
    const hide = element("button", said.hide);
    hide.type = "button";
    hide.addEventListener("click", () => {
      hidden(key);
      remove();
    });
    banner.append(hide);
    document.body.prepend(banner);
    // Set after the element exists: a screen reader announces changes to an element that it knows.
    setTimeout(() => {
      text.textContent = notice.text + times(notice);
    });
    shown = key;
  };
  const ask = async () => {
    let wait = 30;
    try {
      const answer = await fetch(url, { cache: "no-store" });
      if (answer.ok) {
        const said = await answer.json();
        wait = Math.min(Math.max(Number(said.check_after_seconds) || wait, 5), 300);
        show(said);
        if (said.state !== state) {
          state = said.state;
          document.dispatchEvent(new CustomEvent("maintenance", { detail: said }));
        }
      }
    } catch {
      // The server cannot be reached. The banner stays, and the script polls again.
    }
    setTimeout(next, wait * 1000);
  };
  const next = () => {
    if (document.hidden) document.addEventListener("visibilitychange", ask, { once: true });
    else ask();
  };
  ask();
})();
