"use strict";
// What the report and the review page share: elements, figures, moments. In one scope with the scripts after it.
const WORDS = { in_doubt: "in doubt", parked: "deferred" };
const word = (state) => WORDS[state] || state;

// ---- what is written, as text only: nothing in this page ever parses HTML
function make(tag, names, ...inside) {
  const found = document.createElement(tag);
  for (const [name, value] of Object.entries(names || {})) {
    if (name === "class") found.className = value;
    else if (name.startsWith("on")) found.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) found.setAttribute(name, value === true ? "" : value);
  }
  found.append(...inside.filter((part) => part !== null && part !== undefined && part !== ""));
  return found;
}
function copyButton(text) {
  const button = make("button", { type: "button", class: "copy", "aria-label": "Copy: " + text, onclick: async () => {
    try { await navigator.clipboard.writeText(text); } catch {  // a browser that allows no more than this
      const area = make("textarea", {}, text);
      button.after(area); area.select(); document.execCommand("copy"); area.remove(); button.focus();
    }
    button.textContent = "copied";
    setTimeout(() => { button.textContent = "copy"; }, 1600);
  } }, "copy");
  return button;
}

// ---- figures
const number = (value) => value.toLocaleString("en-US");
function money(micros) {
  const dollars = micros / 1e6;
  return "$" + dollars.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 4 });
}
function lasting(seconds) {
  if (seconds < 60) return (seconds < 10 ? seconds.toFixed(1).replace(".0", "") : Math.round(seconds)) + " s";
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return minutes + " min" + (Math.round(seconds % 60) % 60 ? " " + (Math.round(seconds % 60) % 60) + " s" : "");
  if (minutes < 60) return Math.round(seconds / 60) + " min";
  return Math.floor(minutes / 60) + " h" + (minutes % 60 ? " " + (minutes % 60) + " min" : "");
}
function bytes(amount) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (amount >= 999.5 && unit < 4) { amount /= 1000; unit += 1; }
  return (unit ? amount.toFixed(1) : amount) + " " + units[unit];
}
const inDay = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const inDaySeconds = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const onDay = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });
const clock = (at) => inDay.format(at * 1000);
const moment = (at) => onDay.format(at * 1000) + ", " + inDaySeconds.format(at * 1000);
function stretch(from, to) {
  const sameDay = onDay.format(from * 1000) === onDay.format(to * 1000);
  return onDay.format(from * 1000) + ", " + clock(from) + " – " + (sameDay ? "" : onDay.format(to * 1000) + ", ") + clock(to);
}
