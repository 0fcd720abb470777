"use strict";
// The page's own script, in one scope. What the columns of a row are is said here, and nowhere else.
const data = JSON.parse(document.getElementById("data").textContent);
const said = (place) => (place < 0 ? "" : data.strings[place]);
const WORDS = { in_doubt: "in doubt", parked: "deferred" };
const word = (state) => WORDS[state] || state;
const SUCCEEDED = { open: "under way", in_doubt: "in doubt", succeeded: "succeeded", failed: "failed", abandoned: "given up" };

const jobs = data.rows.map((row, place) => ({
  place, id: row[0], state: data.states[row[1]], prompt: row[2], model: said(row[3]), resolved: said(row[4]),
  asked: said(row[5]), frames: row[6], attempt: row[7], paid: row[8], submittedAt: row[9], took: row[10],
  finishedAt: row[11], path: row[12], bytes: row[13], poster: row[14], reason: said(row[15]),
  attempts: row[16], troubles: row[17], continues: row[18] ? row[18][0] : "", continuesAt: row[18] ? row[18][1] : null, rank: row[1] < 3 ? row[1] : 3,
  review: row[19] ? { verdict: row[19][0], stars: row[19][1], note: row[19][2], by: row[19][3], at: row[19][4] } : null,
}));
const judged = (review) => [review.verdict, review.stars < 0 ? "" : "★".repeat(review.stars) + "☆".repeat(5 - review.stars)].filter(Boolean).join(" ") || "noted";
const films = data.films.map(([id, path, duration, parts, state, poster]) => ({
  id, path, duration, parts, state, poster, film: true, prompt: "", reason: state === "done" ? "" : state,
}));

const modelOf = (job) => job.model + (job.resolved && job.resolved !== job.model ? " → " + job.resolved : "");

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
// A name is data: each part of a path is quoted, and "./" before it keeps it from being an address.
const fileUrl = (path) => "./" + path.split("/").map(encodeURIComponent).join("/");
const pictureUrl = (name) => fileUrl(data.files + "/" + name + ".webp");

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

// ---- the head of the page
function drawHead() {
  const last = data.nights[data.nights.length - 1];
  document.getElementById("when").textContent = last ? stretch(last.from, last.to) : "made " + moment(data.madeAt);
  const counts = new Map();
  for (const job of jobs) counts.set(job.state, (counts.get(job.state) || 0) + 1);
  for (const state of [...data.states].reverse().filter((one) => counts.has(one))) {
    const part = make("i", { class: "s-" + state, title: number(counts.get(state)) + " " + word(state) });
    part.style.flexGrow = counts.get(state);
    document.getElementById("bar").append(part);
  }
  return counts;
}
