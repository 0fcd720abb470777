// ---- the head of the page, what runs, and the wall of clips
const by = (name) => document.getElementById(name);
const RUNNING_SHOWN = 6, PICTURE_TRIES = 6, PICTURE_AGAIN_MS = 1200;
const SORTS = {
  "as in the manifest": (one, two) => one.place - two.place,
  "newest first": (one, two) => two.finishedAt - one.finishedAt || one.place - two.place,
  "best first": (one, two) => starsOf(two) - starsOf(one) || one.place - two.place,
  "most expensive first": (one, two) => two.paid - one.paid || one.place - two.place,
  "by name": (one, two) => one.id.localeCompare(two.id, undefined, { numeric: true }),
};
const starsOf = (job) => (job.takes.length ? newestTake(job).stars : -1);
const many = (amount, noun) => number(amount) + " " + noun + (amount === 1 ? "" : "s");
const counts = { all: 0, fresh: 0 };

function starText(stars) { return stars < 0 ? "" : "★".repeat(stars) + "☆".repeat(STARS_MAX - stars); }

function drawBanner() {
  const troubles = [model.trouble, ...model.boards.map((one) => (one.trouble ? one.name + ": " + one.trouble : "")),
    ...model.boards.map((one) => (one.edited ? `The manifest ${one.name} was edited since this page was started. Start batchvid review again to see its new jobs and words.` : ""))].filter(Boolean);
  by("banner").hidden = !troubles.length;
  if (by("banner").textContent !== troubles.join("\n")) by("banner").textContent = troubles.join("\n");
  by("live").className = model.trouble ? "off" : model.boards.some((one) => one.active) ? "on" : "";
}

function nextRun() {
  let bought = 0, unpriced = 0, stuck = 0;
  const sums = model.boards.map(() => 0), followers = new Set();
  const add = (job, most) => { bought += 1; if (most === null) unpriced += 1; else sums[job.board] += most; };
  for (const job of jobs) {
    if (!job || job.kind !== "rejected") continue;
    const next = again(job, newestTake(job));
    if (!next || next.left <= 0) { stuck += 1; continue; }
    add(job, next.most);
    if (isRebought(job)) for (const one of next.followers) followers.add(one);
  }
  for (const one of followers) add(one, mostOf(one));
  // A run never spends more than its budget leaves.
  const lefts = model.boards.map(leftOf);
  const isCut = sums.some((sum, place) => sum > lefts[place]);
  return { bought, followers: followers.size, micros: sums.reduce((all, sum, place) => all + Math.min(sum, lefts[place]), 0), unpriced, stuck, isCut };
}

function nextRunWords({ bought, followers, micros, unpriced, stuck, isCut }) {
  if (!bought && !stuck) return "";
  const cost = unpriced === bought ? "at a price that is not known" : "for at most " + money(micros) + (isCut ? ", which is what the budget leaves" : "") + (unpriced ? ` and ${many(unpriced, "price")} not known` : "");
  const left = stuck ? `${many(stuck, "rejected job")} ${stuck === 1 ? "has" : "have"} no attempt left` : "";
  const what = many(bought - followers, "rejected job") + (followers ? ` and ${many(followers, "job")} behind` : "");
  return [bought ? `${nextRunOf(model.boards.some((one) => one.active))} buys ${what} again, ${cost}` : "", left].filter(Boolean).join("; ") + ".";
}

function figure(label, value, beside) { return make("div", {}, make("dt", {}, label), make("dd", {}, value, beside ? make("small", {}, beside) : "")); }

function drawHead() {
  const running = model.boards.filter((one) => one.active), sum = (name) => model.boards.reduce((all, one) => all + (one[name] || 0), 0);
  by("sandbox").hidden = !model.boards.some((one) => one.sandbox);
  by("live").replaceChildren(make("i"), model.boards.some((one) => one.begun) ? (running.length ? (model.boards.length > 1 ? `${many(running.length, "run")} under way` : "a run is under way") : "no run is under way") : "nothing was run yet: this page follows the first run");
  const clips = counts.undecided + counts.approved + counts.rejected, judged = counts.approved + counts.rejected;
  by("lead").replaceChildren(make("b", {}, number(judged)), ` of ${many(clips, "clip")} judged`, ` · ${many(jobs.length, "job")}`);
  const parts = [["approved", "done"], ["rejected", "failed"], ["undecided", "undecided"], ["running", "running"], ["attention", "in_doubt"], ["pending", "pending"]];
  by("bar").replaceChildren(...parts.filter(([kind]) => counts[kind]).map(([kind, colour]) => { const one = make("i", { class: "s-" + colour, title: number(counts[kind]) + " " + KINDS[kind] }); one.style.flexGrow = counts[kind]; return one; }));
  by("bar").setAttribute("aria-label", parts.filter(([kind]) => counts[kind]).map(([kind]) => number(counts[kind]) + " " + KINDS[kind]).join(", "));
  by("legend").replaceChildren(...parts.filter(([kind]) => counts[kind]).map(([kind, colour]) => make("li", { class: "s-" + colour }, make("i"), KINDS[kind] + " ", make("b", {}, number(counts[kind])))));
  const budgets = model.boards.filter((one) => one.budget !== null), next = nextRun();
  const beside = [sum("reserved") ? "+ " + money(sum("reserved")) + " reserved" : "", budgets.length ? "of " + money(budgets.reduce((all, one) => all + one.budget, 0)) : "", sum("unpriced") ? many(sum("unpriced"), "attempt") + " unpriced" : ""].filter(Boolean).join(", ");
  by("figures").replaceChildren(
    figure("Spent", money(sum("spent")), beside),
    make("div", { class: "since" }, ...figure("New since you opened it", number(counts.fresh), "").childNodes),
    make("div", { class: "next" }, make("dt", {}, "Next run"), make("dd", {}, next.bought ? (next.unpriced === next.bought ? "price not known" : money(next.micros)) : "$0.00", make("small", { id: "next-run" }, nextRunWords(next) || "buys nothing again: no clip is rejected"))));
  document.title = (counts.undecided ? `(${number(counts.undecided)}) ` : "") + heading;
  drawBanner();
}
const heading = document.title;

// ---- what runs now
let runningNow = [];
function drawRunning() {
  runningNow = jobs.filter((job) => job && job.kind === "running").sort((one, two) => (one.submittedAt || Infinity) - (two.submittedAt || Infinity));
  by("runs").hidden = !runningNow.length;
  by("runs-title").textContent = `${many(runningNow.length, "job")} under way`;
  by("running").replaceChildren(...runningNow.slice(0, RUNNING_SHOWN).map((job) => {
    job.ageAt = make("span", { class: "age" });
    job.track = make("i");
    return make("li", { class: "s-" + job.state }, make("b", {}, job.id), make("span", { class: "state" }, make("i"), word(job.state)), job.ageAt,
      make("span", { class: "track", "aria-hidden": "true" }, job.track), job.reason ? make("span", { class: "why" }, job.reason) : "");
  }), runningNow.length > RUNNING_SHOWN ? make("li", { class: "rest" }, `and ${number(runningNow.length - RUNNING_SHOWN)} more`) : "");
  tick();
}
function tick() {
  const now = serverNow();
  for (const job of runningNow.slice(0, RUNNING_SHOWN)) {
    if (!job.ageAt) continue;
    const age = job.submittedAt ? Math.max(0, now - job.submittedAt) : 0;
    const usual = job.typical && job.state === "running" ? ` of usually ${lasting(Math.round(job.typical))}` : "";
    job.ageAt.textContent = job.state === "ready" ? "is being fetched" : job.submittedAt ? lasting(Math.round(age)) + usual : "is being sent";
    job.track.style.width = (job.state === "ready" ? 100 : job.typical ? Math.min(97, (age / job.typical) * 100) : 0) + "%";
  }
}

// ---- tiles
function picture(job, take) {
  const still = () => make("video", { src: clipUrl(job, take) + "#t=0.001", preload: "metadata", muted: true, playsinline: true, tabindex: -1 });
  let tries = 0;
  // A picture that is not there yet is made by a process beside this one: it is asked for again, and then the clip itself.
  const image = make("img", { src: pictureUrl(job, take), alt: "", decoding: "async", onerror: () => {
    tries += 1;
    if (tries > PICTURE_TRIES) image.replaceWith(still());
    else setTimeout(() => { if (image.isConnected) image.src = pictureUrl(job, take) + "&again=" + tries; }, PICTURE_AGAIN_MS * tries);
  } });
  return image;
}

function face(job) {
  const box = make("div", { class: "face" }), take = newestTake(job);
  if (!take) {
    box.append(make("div", { class: "said" }, make("b", {}, make("i"), word(job.state)), make("span", {}, job.reason)));
    return box;
  }
  box.append(picture(job, take), make("span", { class: "glyph" }));
  const takes = takesWith(job).length;
  const tags = [job.isNew ? make("span", { class: "tag fresh" }, "new") : "", job.state === "done" ? "" : make("span", { class: "tag" }, word(job.state)), takes > 1 ? make("span", { class: "tag" }, takes + " takes") : ""].filter(Boolean);
  if (tags.length) box.append(make("span", { class: "tags" }, ...tags));
  if (job.kind === "approved" || job.kind === "rejected") box.append(make("span", { class: "verdict " + job.kind }, job.kind === "approved" ? "✓ approved" : "✕ rejected"));
  return box;
}

function tileOf(job) {
  const take = newestTake(job), how = [job.took ? lasting(job.took) : "", job.continues ? "continues " + job.continues : "", modelOf(job)].filter(Boolean).join(" · ");
  const told = [job.id, take && take.verdict, take && take.stars >= 0 ? take.stars + " stars" : "", take && take.note].filter(Boolean).join(", ");
  return make("a", { class: `tile s-${job.state} k-${job.kind}`, href: "#clip=" + encodeURIComponent(nameOf(job.board, job.id)), title: job.prompt || job.id, "aria-label": told,
    onclick: (event) => { event.preventDefault(); openClip(job); }, onfocus: () => { wall.at = job; } },
  face(job), make("div", { class: "name" }, make("b", {}, job.id), make("span", { class: "stars" }, take ? starText(take.stars) : "")),
  take && take.note ? make("div", { class: "ask note" }, "“" + take.note + "”") : make("div", { class: "ask" }, job.prompt), make("div", { class: "with" }, how));
}

const wall = {
  ...virtual,
  shown: [], tiles: new Map(), columns: 1, width: 0, height: 0, at: null, index: 0, text: "", filter: "", board: -1, sort: Object.keys(SORTS)[0], grid: by("grid"),

  // A clip's text, in lower case, is put together when somebody first looks for something.
  textOf(job) { return (job.text ??= [job.id, job.prompt, job.model, job.resolved, job.asked, job.reason, job.continues, word(job.state), ...job.frames, ...job.takes.flatMap((take) => [take.note, take.by, take.verdict])].join("\n").toLowerCase()); },

  isChosen(job, words) {
    return (!this.filter || (this.filter === "fresh" ? job.isNew : job.kind === this.filter)) && (this.board < 0 || this.board === job.board) && words.every((one) => this.textOf(job).includes(one));
  },

  choose(fresh) {
    const words = this.text.toLowerCase().split(/\s+/).filter(Boolean);
    this.shown = jobs.filter((job) => this.isChosen(job, words));
    if (this.sort !== "as in the manifest") this.shown.sort(SORTS[this.sort]);
    const place = this.at ? this.shown.indexOf(this.at) : -1;
    if (place >= 0) this.index = place;
    this.count.textContent = this.shown.length === jobs.length ? many(jobs.length, "clip") : `${number(this.shown.length)} of ${number(jobs.length)}`;
    this.empty.textContent = !jobs.length ? "There is no job." : this.filter === "undecided" && !this.text ? "Every clip that is there is judged." : "No clip is like that.";
    if (fresh) { for (const tile of this.tiles.values()) tile.remove(); this.tiles.clear(); }
    this.layOut();
  },

  // The tiles of what has changed are made again, in their places; whoever has the focus keeps it.
  change(changed) {
    for (const job of changed) {
      const tile = this.tiles.get(job);
      if (!tile) continue;
      const fresh = tileOf(job), old = tile.querySelector(".face img"), now = fresh.querySelector(".face img");
      if (old && now && old.getAttribute("src").split("&")[0] === now.getAttribute("src")) now.replaceWith(old);  // no flicker
      const hadFocus = tile === document.activeElement;
      fresh.style.cssText = "";
      for (const name of ["width", "height", "transform"]) fresh.style[name] = tile.style[name];
      tile.replaceWith(fresh);
      this.tiles.set(job, fresh);
      if (hadFocus) fresh.focus({ preventScroll: true });
    }
  },

  // What comes after the clip that was last looked at, also when that one is not among those shown any more.
  neighbour(step) {
    const here = this.at ? this.shown.indexOf(this.at) : -1;
    if (here >= 0) return this.shown[here + step];
    return this.shown[this.at ? Math.min(this.index + (step > 0 ? step - 1 : step), this.shown.length - 1) : 0];
  },

  pick(filter) {
    this.filter = filter;
    for (const chip of this.chips.children) chip.setAttribute("aria-pressed", String(chip.dataset.filter === filter));
    this.choose(true);
  },

  drawChips() {
    const kinds = [["", "all", counts.all], ["undecided", KINDS.undecided, counts.undecided], ["approved", KINDS.approved, counts.approved], ["rejected", KINDS.rejected, counts.rejected],
      ["running", KINDS.running, counts.running], ["attention", KINDS.attention, counts.attention], ["fresh", "new", counts.fresh]];
    for (const [filter, label, amount] of kinds) {
      let chip = [...this.chips.children].find((one) => one.dataset.filter === filter);
      if (!chip) {
        chip = make("button", { type: "button", class: "chip", "data-filter": filter, "aria-pressed": String(filter === this.filter), onclick: () => this.pick(filter) });
        this.chips.append(chip);
      }
      const words = label + " " + number(amount);
      if (chip.textContent !== words) chip.textContent = words;
      chip.hidden = filter !== "" && filter !== this.filter && !amount && !["undecided", "approved", "rejected"].includes(filter);
    }
  },

  start() {
    let waiting = 0;
    this.find = make("input", { type: "search", placeholder: "Find in prompts, names, notes   /", "aria-label": "Find clips", spellcheck: "false", autocomplete: "off",
      oninput: () => { this.text = this.find.value; cancelAnimationFrame(waiting); waiting = requestAnimationFrame(() => this.choose(true)); },
      onkeydown: (event) => {
        if (event.key === "Escape") { this.find.value = this.text = ""; this.choose(true); this.find.blur(); }
        if ((event.key === "Enter" || event.key === "ArrowDown") && this.shown.length) { this.focus(this.shown[0]); event.preventDefault(); }
      } });
    this.chips = make("div", { class: "chips", role: "group", "aria-label": "Which clips" });
    const order = make("select", { "aria-label": "Order", onchange: () => { this.sort = order.value; this.choose(true); } });
    for (const name of Object.keys(SORTS)) order.append(make("option", { value: name }, name));
    const which = make("select", { "aria-label": "Manifest", onchange: () => { this.board = Number(which.value); this.choose(true); } }, make("option", { value: -1 }, "all manifests"));
    model.boards.forEach((one, place) => which.append(make("option", { value: place }, one.name)));
    this.count = make("span", { class: "shown", role: "status" });
    this.empty = make("p", { class: "empty" });
    by("tools").append(this.find, this.chips, model.boards.length > 1 ? which : "", order, this.count, make("button", { type: "button", class: "chip keys", "aria-label": "Keys", title: "Keys (?)", onclick: showKeys }, "?"));
    this.grid.append(this.empty);
    const isUpright = (job) => { const size = /^(\d+)x(\d+)\b/.exec(job.asked); return size && Number(size[1]) < Number(size[2]); };
    this.tall = jobs.filter(isUpright).length * 2 > jobs.length;
    let drawing = 0;
    addEventListener("scroll", () => { drawing ||= requestAnimationFrame(() => { drawing = 0; this.draw(false); }); }, { passive: true });
    new ResizeObserver(() => { if (this.grid.clientWidth !== this.was) { this.was = this.grid.clientWidth; this.layOut(); } }).observe(this.grid);
    setInterval(tick, 1000);
  },
};

// Everything that changes comes through here: rows of the server, and decisions of this page.
function takeUp(changed, isFirst) {
  if (isFirst) {
    for (const kind of Object.keys(KINDS)) counts[kind] = 0;
    counts.fresh = 0;
  }
  for (const job of changed) {
    if (job.counted) { counts[job.kind] -= 1; counts.fresh -= job.countedNew ? 1 : 0; }
    job.kind = kindOf(job);
    job.counted = true;
    job.countedNew = job.isNew;
    counts[job.kind] += 1;
    counts.fresh += job.isNew ? 1 : 0;
  }
  counts.all = jobs.length;
  if (isFirst) {
    wall.start();
    if (counts.undecided) wall.filter = "undecided";
  }
  if (isFirst || changed.length) {
    drawHead();
    drawRunning();
    wall.drawChips();
    wall.change(new Set(changed.flatMap((job) => job.group)));  // the others tell how many takes there are
    wall.choose(isFirst);
    refreshStage(changed);
  } else {
    drawHead();
  }
  if (isFirst) { startStage(); startKeys(); }
  if (model.isWhole) document.documentElement.dataset.ready = "true";
}
