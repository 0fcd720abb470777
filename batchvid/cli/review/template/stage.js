// ---- the stage: one clip large, or its takes side by side and in step, with its frames, and what is decided about it
const stage = { dialog: make("dialog", { class: "stage-dialog", "aria-label": "Clip" }), job: null, take: null, mode: "one", frames: false, writing: null, saving: 0 };
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const DRIFT_S = 0.05, AT_ONCE = 4;  // a browser opens six connections to one server, and a decision needs one of them

const toast = by("toast");
function say(words, undoable) {
  toast.replaceChildren(words, undoable ? make("button", { type: "button", onclick: undo }, "undo (u)") : "");
  toast.hidden = false;
  (stage.dialog.open ? stage.dialog : document.body).append(toast);  // a dialog is above all else
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { toast.hidden = true; }, 6000);
}

// ---- decisions
async function judge(job, take, set, words) {
  stage.saving += 1;
  try {
    await decide(job, take, set);
    say(`${job.id}: ${words}`, true);
    if (set.verdict) goOn(job);
  } catch (error) {
    say(`${job.id}: not kept. ${error.message}`, false);
  } finally {
    stage.saving -= 1;
  }
}

// Where only what is to be judged is shown, a clip that is judged makes room for the next one.
function goOn(job) {
  if (!stage.dialog.open || stage.job !== job || wall.filter !== "undecided" || wall.shown.includes(job)) return;
  const next = wall.shown[Math.min(wall.index, wall.shown.length - 1)];
  if (next) openClip(next); else { stage.dialog.close(); say("Every clip that is there is judged.", true); }
}

const approve = (job, take) => judge(job, take, { verdict: "approved" }, "approved");
const reject = (job, take, note) => judge(job, take, { verdict: "rejected", note }, "rejected");
const star = (job, take, stars) => judge(job, take, { stars }, stars === null ? "no stars" : many(stars, "star"));

async function undo() {
  const last = undoing.pop();
  if (!last) { say("There is nothing to undo.", false); return; }
  const { job, attempt, before, at } = last;
  try {
    await decide(job, { attempt, verdict: "", stars: -1, note: "" }, before, at);
    say(`${job.id}: undone`, false);
    if (stage.dialog.open && stage.job !== job) openClip(job);
  } catch (error) {
    say(`${job.id}: ${error.message}`, false);
  }
}

// What rejecting brings, said before it is sent.
function bound(job, take) {
  const next = again(job, take);
  if (!next) return [make("p", { class: "bound" }, take.attempt < job.attempt ? "It is an earlier take: rejecting it buys nothing." : "It is being made again already: rejecting it buys nothing.")];
  const of = `attempt ${job.attempt + 1} of at most ${job.highest}`;
  if (next.left <= 0) return [make("p", { class: "bound" }, "No attempt is left, so the next run does not buy it again. To buy it again:"), make("p", { class: "command" }, make("code", {}, redoCommand(job)), copyButton(redoCommand(job)))];
  const budgetLeaves = leftOf(model.boards[job.board]);
  if (next.most !== null && job.price > budgetLeaves) return [make("p", { class: "bound" }, `The next take costs ${money(job.price)} (${of}), and the budget leaves ${money(budgetLeaves)}: no run buys it before limits.budget is raised.`)];
  const who = nextRunOf(model.boards[job.board].active), others = next.followers, mosts = others.map(mostOf);
  const price = next.most === null ? [`${who} buys it again, at a price that is not known (${of}).`]
    : [`${who} buys it again: `, make("b", {}, money(job.price)), ` (${of})`, next.left > 1 ? `, for at most ${money(next.most)} in all.` : "."];
  const behind = !others.length ? "" : !isRebought(job) ? ` ${many(others.length, "clip")} that goes on from it ${others.length === 1 ? "is" : "are"} kept.`
    : ` And ${many(others.length, "clip")} that goes on from it, ${mosts.includes(null) ? "at a price that is not known" : "for at most " + money(mosts.reduce((sum, one) => sum + one, 0))}.`;
  return [make("p", { class: "bound" }, ...price, behind)];
}

function startWriting(verdict) {
  if (!stage.dialog.open) { if (!wall.at) return; openClip(wall.at); }
  if (!stage.take) return;
  stage.writing = { verdict, job: stage.job, take: stage.take };
  drawJudge();
  const field = stage.dialog.querySelector(".writing textarea");
  field.focus();
  field.setSelectionRange(field.value.length, field.value.length);
  field.parentElement.scrollIntoView({ block: "nearest" });
}

function stopWriting() { stage.writing = null; drawJudge(); restFocus(); }

async function send() {
  const { verdict, job, take } = stage.writing, note = stage.dialog.querySelector(".writing textarea").value.trim();
  stopWriting();
  if (verdict === "rejected") await reject(job, take, note);
  else await judge(job, take, { note }, note ? "noted" : "note taken away");
}

function writingForm(job, take) {
  const isReject = stage.writing.verdict === "rejected";
  const field = make("textarea", { rows: 2, maxlength: told.noteMax, placeholder: isReject ? "What is wrong with it? (may stay empty)" : "A note", "aria-label": isReject ? "Why it is rejected" : "Note", enterkeyhint: "send",
    onkeydown: (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); send(); }
      if (event.key === "Escape") { event.preventDefault(); event.stopPropagation(); stopWriting(); }
    } }, take.note);
  field.value = take.note;
  return make("div", { class: "writing" }, ...(isReject ? bound(job, take) : []), field,
    make("div", { class: "buttons" }, make("button", { type: "button", class: isReject ? "do rejected" : "do", onclick: send }, isReject ? "Reject (Enter)" : "Keep (Enter)"), make("button", { type: "button", class: "do plain", onclick: stopWriting }, "Leave (Esc)")));
}

// A button that was pressed with a mouse gives the focus back, so that space plays and does not press it again.
const pressed = (does) => (event) => { does(); if (event.detail) restFocus(); };
function restFocus() { if (stage.dialog.open && !stage.writing) stage.dialog.querySelector(".stage").focus({ preventScroll: true }); }

function judgeBar(job, take) {
  const stars = make("div", { class: "rate", role: "group", "aria-label": "Stars" });
  for (let value = 1; value <= STARS_MAX; value += 1) {
    stars.append(make("button", { type: "button", class: take.stars >= value ? "on" : "", "aria-pressed": String(take.stars === value), "aria-label": many(value, "star"), title: `${value}`, onclick: pressed(() => star(job, take, take.stars === value ? null : value)) }, take.stars >= value ? "★" : "☆"));
  }
  const button = (kind, words, key, does) => make("button", { type: "button", class: "do " + kind, "aria-pressed": take.verdict === kind ? "true" : kind === "approved" || kind === "rejected" ? "false" : null, "aria-keyshortcuts": key, onclick: pressed(does) }, words, make("kbd", {}, key));
  return make("div", { class: "buttons" }, button("approved", "✓ Approve", "a", () => approve(job, take)), button("rejected", "✕ Reject", "r", () => startWriting("rejected")), stars,
    button("plain", "Note", "n", () => startWriting(null)), undoing.length ? button("plain", "Undo", "u", undo) : "");
}

function decisionLine(take) {
  if (!take.at) return "";
  const words = [take.verdict || (take.stars >= 0 || take.note ? "" : "decision taken back"), take.stars >= 0 ? starText(take.stars) : ""].filter(Boolean).join(" ");
  return make("p", { class: "decision " + take.verdict }, make("b", {}, words), ` ${take.by}, ${moment(take.at)}`, take.note ? make("span", { class: "note" }, "“" + take.note + "”") : "");
}

function drawJudge() {
  const place = stage.dialog.querySelector(".judge"), { job, take } = stage;
  if (!place) return;
  if (!take) { place.replaceChildren(); return; }
  const focused = document.activeElement && place.contains(document.activeElement) ? document.activeElement.getAttribute("aria-keyshortcuts") : null;
  const which = takesWith(job).length > 1 ? make("p", { class: "which" }, takeName(job, take)) : "";
  place.replaceChildren(...[which, stage.writing ? writingForm(stage.writing.job, stage.writing.take) : judgeBar(job, take), decisionLine(take)].filter(Boolean));
  if (focused) { const same = place.querySelector(`[aria-keyshortcuts="${focused}"]`); if (same) same.focus(); }
}
const takeName = (job, take) => job.id + (job.takes.length > 1 || take.attempt > 1 ? ", attempt " + take.attempt : "");

// ---- what is known of the clip
function fact(list, label, ...inside) {
  const kept = inside.filter((part) => part !== "" && part !== null && part !== undefined);
  if (kept.length) list.append(make("dt", {}, label), make("dd", {}, ...kept));
}
function factsOf(job, take) {
  const list = make("dl", { class: "facts" });
  if (job.continues) fact(list, "Continues", make("a", { href: "#clip=" + encodeURIComponent(nameOf(job.board, job.continues)) }, job.continues));
  if (job.frames.length) fact(list, job.frames.length > 1 ? "Frames" : job.continues ? "Last frame" : "First frame", job.frames.join(" → "));
  fact(list, "Model", modelOf(job));
  fact(list, "Asked", job.asked);
  fact(list, "Generation", job.took ? lasting(job.took) : "");
  fact(list, "Paid", job.paid >= 0 ? money(job.paid) : "");
  fact(list, "Attempts", job.attempt ? `${job.attempt} of at most ${job.highest}` : "");
  fact(list, "Finished", job.finishedAt ? moment(job.finishedAt) : "");
  fact(list, "Size", take ? bytes(take.bytes) : "");
  if (model.boards.length > 1) fact(list, "Manifest", model.boards[job.board].name);
  return list;
}
function drawTold() {
  const { job, take } = stage, place = stage.dialog.querySelector(".about");
  place.replaceChildren(...[make("h2", {}, job.id), take ? make("p", { class: "state s-" + job.state }, make("i"), word(job.state)) : "", take && job.reason && job.state !== "done" ? make("p", { class: "quiet" }, job.reason) : "",
    job.kind === "attention" ? make("p", { class: "command" }, "What can be done, with the commands for it: ", make("code", {}, model.boards[job.board].status), copyButton(model.boards[job.board].status)) : "",
    job.prompt ? make("p", { class: "prompt" }, job.prompt) : "", factsOf(job, take)].filter(Boolean));
}

// ---- players
function player(job, take, options) {
  const video = make("video", { src: clipUrl(job, take), playsinline: true, preload: "auto", poster: pictureUrl(job, take), tabindex: -1, ...options });
  video.addEventListener("error", () => { if (video.isConnected) video.replaceWith(make("p", { class: "said" }, "This clip cannot be played: it is not where the journal has it, or this browser does not know its format.")); });
  return video;
}
function start(video) { if (!calm.matches) video.play().catch(() => { /* a browser that wants a further click shows its controls */ }); }

function frameFigure(job, which) {
  const isFirst = which === 0 && !job.continues, at = job.continues ? which - 1 : which;
  const caption = make("figcaption", {}, isFirst || which === 0 ? "first frame" : "last frame");
  if (job.continues && which === 0) {
    const before = byName.get(nameOf(job.board, job.continues)), take = before && newestTake(before);
    if (!take) return null;
    const video = player(before, take, { muted: true, poster: null });  // the moment of the clip before that this one goes on from
    video.addEventListener("loadedmetadata", () => { const at = job.continuesAt; video.currentTime = at === null ? video.duration : at < 0 ? video.duration + at : at; });
    caption.textContent = "goes on from " + job.continues;
    return make("figure", { class: "frame" }, video, caption);
  }
  if (!job.frames[at]) return null;
  const image = make("img", { src: frameUrl(job, at), alt: caption.textContent + " " + job.frames[at], onerror: () => { image.replaceWith(make("p", { class: "said" }, "It cannot be shown: " + job.frames[at])); } });
  caption.textContent += " · " + job.frames[at];
  return make("figure", { class: "frame" }, image, caption);
}
const hasFrames = (job) => job.frames.length > 0 || Boolean(job.continues);

function takeTabs(job) {
  const all = takesWith(job);
  if (all.length < 2) return "";
  return make("div", { class: "takes-bar" }, ...all.map((one, place) => make("button", { type: "button", class: "chip", "aria-pressed": String(one.take === stage.take), onclick: pressed(() => chooseTake(one)) }, one.job === job && job.group.length === 1 ? "attempt " + one.take.attempt : takeName(one.job, one.take))),
    stage.mode === "takes" ? "" : make("button", { type: "button", class: "chip", onclick: pressed(toggleTakes) }, "side by side", make("kbd", {}, "t")));
}

function drawStage() {
  const { job, take } = stage, place = stage.dialog.querySelector(".stage");
  step.stop();
  place.className = "stage s-" + job.state;
  if (!take) {
    place.classList.add("none");
    place.replaceChildren(make("div", { class: "said" }, make("b", {}, make("i"), word(job.state)), make("p", {}, job.reason || "There is no clip yet.")));
    return;
  }
  if (stage.mode === "takes") { drawTakes(place); return; }
  const video = player(job, take, { controls: true, loop: true });
  const figures = stage.frames ? [frameFigure(job, 0), frameFigure(job, 1)] : [];
  place.classList.toggle("framed", figures.some(Boolean));
  place.replaceChildren(...[figures[0], make("div", { class: "main" }, video), figures[1], takeTabs(job)].filter(Boolean));
  start(video);
}

// ---- takes side by side: the first one leads, and the others are kept where it is
const step = {
  videos: [], frame: 0, slider: null, button: null, clock: null,
  lead() { return this.videos[0]; },
  isPlaying() { return this.videos.length > 0 && !this.lead().paused; },
  toggle() { if (this.isPlaying()) this.pause(); else this.play(); },
  play() { this.align(0); for (const one of this.videos) one.play().catch(() => { /* as above */ }); this.watch(); },
  pause() { for (const one of this.videos) one.pause(); this.align(0); this.show(); },
  seek(to) { for (const one of this.videos) one.currentTime = Math.min(to, (one.duration || to)); this.show(); },
  align(drift) {
    const at = this.lead() ? this.lead().currentTime : 0;
    for (const one of this.videos.slice(1)) if (one.readyState && Math.abs(one.currentTime - Math.min(at, one.duration)) > drift) one.currentTime = Math.min(at, one.duration);
  },
  watch() {
    cancelAnimationFrame(this.frame);
    const look = () => {
      if (!this.isPlaying()) { this.show(); return; }
      this.align(DRIFT_S);
      for (const one of this.videos.slice(1)) if (one.paused && one.currentTime < one.duration) one.play().catch(() => { /* as above */ });
      this.show();
      this.frame = requestAnimationFrame(look);
    };
    this.frame = requestAnimationFrame(look);
  },
  show() {
    const lead = this.lead();
    if (!lead || !this.slider) return;
    if (lead.duration) this.slider.value = String(Math.round((lead.currentTime / lead.duration) * 1000));
    this.button.textContent = this.isPlaying() ? "❚❚" : "▶";
    this.button.setAttribute("aria-label", this.isPlaying() ? "Pause" : "Play");
    this.clock.textContent = lead.duration ? `${lead.currentTime.toFixed(1)} of ${lead.duration.toFixed(1)} s` : "";
  },
  stop() { cancelAnimationFrame(this.frame); this.videos = []; this.slider = null; },
};

// Of many takes, those beside which the chosen one stands.
function takesInSight() {
  const all = takesWith(stage.job), here = Math.max(0, all.findIndex((one) => one.take === stage.take));
  return all.slice(here - (here % AT_ONCE), here - (here % AT_ONCE) + AT_ONCE);
}

function drawTakes(place) {
  const all = takesInSight();
  place.classList.add("many");
  const row = make("div", { class: "takes", "data-many": Math.min(4, all.length) });
  for (const one of all) {
    const video = player(one.job, one.take, { muted: row.children.length > 0, loop: row.children.length === 0 });
    step.videos.push(video);
    row.append(make("figure", { class: "take" + (one.take === stage.take ? " at" : "") }, video,
      make("button", { type: "button", class: "pick", "aria-pressed": String(one.take === stage.take), onclick: pressed(() => chooseTake(one)) }, make("b", {}, takeName(one.job, one.take)), make("span", { class: "verdict-word " + one.take.verdict }, [one.take.verdict, starText(one.take.stars)].filter(Boolean).join(" ") || "to judge"))));
    video.addEventListener("click", () => chooseTake(one));
  }
  step.slider = make("input", { type: "range", min: 0, max: 1000, value: 0, "aria-label": "Where in all takes", oninput: () => step.seek((step.slider.value / 1000) * (step.lead().duration || 0)) });
  step.button = make("button", { type: "button", class: "play", "aria-label": "Play", onclick: pressed(() => step.toggle()) }, "▶");
  step.clock = make("span", { class: "clock" });
  stage.sight = all.map((one) => one.take);
  place.replaceChildren(row, takesWith(stage.job).length > AT_ONCE ? takeTabs(stage.job) : "", make("div", { class: "in-step" }, step.button, step.slider, step.clock, make("button", { type: "button", class: "chip", onclick: pressed(toggleTakes) }, "one", make("kbd", {}, "t"))));
  const ready = step.videos.map((one) => new Promise((done) => { if (one.readyState >= 3) done(); else for (const name of ["canplay", "error"]) one.addEventListener(name, done, { once: true }); }));
  const these = step.videos;
  Promise.all(ready).then(() => { if (step.videos === these && !calm.matches) step.play(); else step.show(); });
}

function markTakes() {
  const all = takesInSight();
  stage.dialog.querySelectorAll(".take").forEach((figure, place) => {
    const one = all[place];
    if (!one) return;
    figure.classList.toggle("at", one.take === stage.take);
    const button = figure.querySelector(".pick"), word = figure.querySelector(".verdict-word");
    button.setAttribute("aria-pressed", String(one.take === stage.take));
    word.className = "verdict-word " + one.take.verdict;
    word.textContent = [one.take.verdict, starText(one.take.stars)].filter(Boolean).join(" ") || "to judge";
  });
}

function chooseTake(one) {
  const isOther = one.job !== stage.job;
  stage.job = one.job; stage.take = one.take; stage.writing = null;
  if (isOther) remember(one.job);
  if (stage.mode === "takes" && stage.sight.includes(one.take)) markTakes(); else drawStage();
  drawJudge();
  drawTold();
}

function toggleTakes() {
  if (!stage.dialog.open) { if (!wall.at) return; openClip(wall.at); }
  if (!stage.take) return;
  if (takesWith(stage.job).length < 2) { say(`${stage.job.id} has one take.`, false); return; }
  stage.mode = stage.mode === "takes" ? "one" : "takes";
  drawStage();
}
function toggleFrames() {
  if (!stage.dialog.open) { if (!wall.at) return; openClip(wall.at); }
  if (!stage.take) return;
  if (!stage.frames && !hasFrames(stage.job)) { say(`${stage.job.id} has no first or last frame.`, false); return; }
  stage.frames = !stage.frames;
  stage.mode = "one";
  drawStage();
}
function playPause() {
  if (stage.mode === "takes" && step.videos.length) { step.toggle(); return; }
  const video = stage.dialog.querySelector(".main video");
  if (video) { if (video.paused) video.play(); else video.pause(); }
}

// ---- opening and closing
function remember(job) {
  wall.at = job;
  const place = wall.shown.indexOf(job);
  if (place >= 0) wall.index = place;
  history.replaceState(null, "", "#clip=" + encodeURIComponent(nameOf(job.board, job.id)));
}

function openClip(job) {
  const isSame = stage.dialog.open && job.group.includes(stage.job);
  stage.job = job;
  stage.take = newestTake(job) || null;
  stage.writing = null;
  if (!isSame || takesWith(job).length < 2) stage.mode = "one";
  remember(job);
  const handle = (label, key, sign, does) => make("button", { type: "button", "aria-label": `${label} (${key})`, title: key, onclick: pressed(does) }, sign);
  const handles = make("div", { class: "handles" }, handle("Clip before", "k", "‹", () => move(-1)), handle("Next clip", "j", "›", () => move(1)),
    hasFrames(job) && stage.take ? handle("First and last frame", "f", "▭", toggleFrames) : "", handle("Keys", "?", "?", showKeys), handle("Close", "Esc", "✕", () => stage.dialog.close()));
  stage.dialog.replaceChildren(toast, make("div", { class: "view" + (stage.take ? "" : " none") }, make("div", { class: "stage", role: "group", "aria-label": "Player", tabindex: -1 }), make("div", { class: "told" }, make("div", { class: "judge" }), make("div", { class: "about" }))), handles);
  stage.dialog.setAttribute("aria-label", job.id);
  drawStage();
  drawJudge();
  drawTold();
  if (!stage.dialog.open) stage.dialog.showModal();
  restFocus();
}

function move(by) {
  const next = wall.neighbour(by);
  if (!next) { say(by > 0 ? "This is the last one." : "This is the first one.", false); return; }
  if (stage.dialog.open) { openClip(next); wall.moveTo(next); } else wall.focus(next);
}

// What the server tells of the clip that is open is shown at once; its player goes on.
function refreshStage(changed) {
  const { job } = stage;
  if (!stage.dialog.open || !changed.some((one) => job.group.includes(one))) return;
  const hadTake = Boolean(stage.take), shown = stage.dialog.querySelectorAll(".take").length;
  const attempt = stage.take ? stage.take.attempt : 0;
  stage.take = job.takes.find((one) => one.attempt === attempt) || newestTake(job) || null;
  if (Boolean(stage.take) !== hadTake) { openClip(job); return; }
  if (stage.mode === "takes" && shown !== takesInSight().length) drawStage(); else markTakes();
  if (!stage.writing) drawJudge();
  drawTold();
}

function startStage() {
  const { dialog } = stage;
  document.body.append(dialog);
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("cancel", (event) => { if (stage.writing) { event.preventDefault(); stopWriting(); } });
  dialog.addEventListener("close", () => {
    if (dialog.open) return;
    step.stop();
    document.body.append(toast);
    dialog.replaceChildren();  // the players let go of their files
    stage.writing = null;
    history.replaceState(null, "", location.pathname);
    if (wall.at) { wall.focus(wall.at); }
  });
  const open = () => {
    if (!location.hash.startsWith("#clip=")) return;
    const job = byName.get(decodeURIComponent(location.hash.slice(6)));
    if (job) openClip(job);
  };
  addEventListener("hashchange", open);
  open();
}
