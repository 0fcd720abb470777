// ---- the contact sheet
const PRINTED_AT_MOST = 400;
const SORTS = {
  "needs attention first": (one, two) => one.rank - two.rank || one.place - two.place,
  "as in the manifest": (one, two) => one.place - two.place,
  "newest first": (one, two) => two.finishedAt - one.finishedAt || one.place - two.place,
  "slowest first": (one, two) => two.took - one.took || one.place - two.place,
  "most expensive first": (one, two) => two.paid - one.paid || one.place - two.place,
  "most attempts first": (one, two) => two.attempt - one.attempt || one.place - two.place,
  "by name": (one, two) => one.id.localeCompare(two.id, undefined, { numeric: true }),
};

function face(job) {
  const box = make("div", { class: "face" });
  if (job.state === "done" && job.path) {
    const still = () => make("video", { src: fileUrl(job.path) + "#t=0.001", preload: "metadata", muted: true, playsinline: true, tabindex: -1 });
    if (job.poster) box.append(make("img", { src: pictureUrl(job.poster), alt: "", decoding: "async", onerror: (event) => event.target.replaceWith(still()) }));
    else box.append(still());
    box.append(make("span", { class: "glyph" }));
    if (job.attempt > 1) box.append(make("span", { class: "tag" }, job.attempt + " attempts"));
    if (job.review) box.append(make("span", { class: "tag judged v-" + (job.review.verdict || "none"), title: job.review.note }, judged(job.review)));
    if (job.film && job.duration) box.append(make("span", { class: "tag" }, lasting(job.duration)));
  } else {
    box.append(make("div", { class: "said" }, make("b", {}, make("i"), word(job.state)), make("span", {}, job.reason)));
  }
  return box;
}

function tileOf(job) {
  const how = job.film ? [job.parts.length + " clips"] : [job.took ? lasting(job.took) : "",
    job.continues ? "continues " + job.continues : "", job.frames.length > 2 ? "first → last frame" : job.frames.length ? (job.continues ? "last frame" : "first frame") : "", modelOf(job)];
  return make("a", { class: "tile s-" + job.state, href: "#clip=" + encodeURIComponent(job.id), title: job.prompt || job.id, onclick: (event) => { event.preventDefault(); openClip(job); } },
    face(job), make("div", { class: "name" }, make("b", {}, job.id), make("span", {}, job.paid >= 0 ? money(job.paid) : "")),
    job.film ? "" : make("div", { class: "ask" }, job.prompt), make("div", { class: "with" }, how.filter(Boolean).join(" · ")));
}

const sheet = {
  ...virtual,
  shown: jobs, tiles: new Map(), columns: 1, width: 0, height: 0, at: null, text: "", state: null, sort: Object.keys(SORTS)[0],
  grid: document.getElementById("grid"),

  // A clip's text, in lower case, is put together when somebody first looks for something.
  textOf(job) { return (job.text ??= [job.id, job.prompt, job.model, job.resolved, job.asked, job.reason, job.continues, word(job.state), job.review ? job.review.verdict + "\n" + job.review.note : "", ...job.frames.filter((_, at) => at % 2 === 0).map(said)].join("\n").toLowerCase()); },

  choose() {
    const words = this.text.toLowerCase().split(/\s+/).filter(Boolean);
    this.shown = jobs.filter((job) => (!this.state || this.state === job.state) && words.every((one) => this.textOf(job).includes(one))).sort(SORTS[this.sort]);
    this.count.textContent = this.shown.length === jobs.length ? `${number(jobs.length)} clips` : `${number(this.shown.length)} of ${number(jobs.length)}`;
    for (const tile of this.tiles.values()) tile.remove();
    this.tiles.clear();
    this.layOut();
  },

  onKey(event) {
    const job = [...this.tiles].find(([, tile]) => tile === document.activeElement)?.[0];
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns, Home: -jobs.length, End: jobs.length }[event.key];
    if (!job || by === undefined) return;
    event.preventDefault();
    const place = this.shown.indexOf(job) + by;
    if (Math.abs(by) > this.columns || (place >= 0 && place < this.shown.length)) this.focus(this.shown[Math.max(0, Math.min(this.shown.length - 1, place))]);
  },

  start(counts) {
    const tools = document.getElementById("tools");
    // A search field per stroke is cheap, but not ten of them in one frame.
    let waiting = 0;
    const find = make("input", { type: "search", placeholder: "Find in prompts, names, models, errors   /", "aria-label": "Find clips", spellcheck: "false", autocomplete: "off",
      oninput: () => { this.text = find.value; cancelAnimationFrame(waiting); waiting = requestAnimationFrame(() => this.choose()); } });
    const chips = make("div", { class: "chips", role: "group", "aria-label": "State" });
    const chip = (state, label, many) => make("button", { type: "button", class: "chip s-" + state, "aria-pressed": String(state === null), onclick: (event) => {
      for (const one of chips.children) one.setAttribute("aria-pressed", String(one === event.currentTarget));
      this.state = state;
      this.choose();
    } }, state ? make("i") : "", label + " " + number(many));
    this.pick = (state) => [...chips.children].find((one) => one.classList.contains("s-" + state))?.click();
    chips.append(chip(null, "all", jobs.length), ...data.states.filter((one) => counts.has(one)).map((one) => chip(one, word(one), counts.get(one))));
    if (!jobs.some((job) => job.rank < 3)) this.sort = "as in the manifest";
    const order = make("select", { "aria-label": "Order", onchange: () => { this.sort = order.value; this.choose(); } });
    for (const name of Object.keys(SORTS)) order.append(make("option", { value: name, selected: name === this.sort }, name));
    this.count = make("span", { class: "shown", role: "status" });
    this.empty = make("p", { class: "empty" }, "No clip is like that.");
    if (counts.size > 1) tools.append(find, chips, order, this.count);
    else tools.append(find, order, this.count);
    this.grid.append(this.empty);
    const isUpright = (job) => { const size = /^(\d+)x(\d+)\b/.exec(job.asked); return size && Number(size[1]) < Number(size[2]); };
    this.tall = jobs.filter(isUpright).length * 2 > jobs.length;
    let drawing = 0;
    addEventListener("scroll", () => { drawing ||= requestAnimationFrame(() => { drawing = 0; this.draw(false); }); }, { passive: true });
    new ResizeObserver(() => { if (this.grid.clientWidth !== this.was) { this.was = this.grid.clientWidth; this.layOut(); } }).observe(this.grid);
    this.grid.addEventListener("keydown", (event) => this.onKey(event));
    addEventListener("keydown", (event) => {
      if (viewer.open || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "/" && document.activeElement !== find) { find.focus(); find.select(); event.preventDefault(); }
      if (event.key === "Escape" && document.activeElement === find) { find.value = this.text = ""; this.choose(); }
      if ((event.key === "ArrowDown" || (event.key === "ArrowRight" && document.activeElement !== find)) && (document.activeElement === find || document.activeElement === document.body) && this.shown.length) { this.focus(this.shown[0]); event.preventDefault(); }
    });
    addEventListener("beforeprint", () => {
      this.printing = true;
      for (const list of document.querySelectorAll("details")) list.open = true;
      for (const job of this.shown.slice(0, PRINTED_AT_MOST)) {
        if (!this.tiles.has(job)) { this.tiles.set(job, tileOf(job)); }
        this.grid.append(this.tiles.get(job));
      }
    });
    addEventListener("afterprint", () => { this.printing = false; this.layOut(); });
    this.choose();
  },
};

function drawFilms() {
  const place = document.getElementById("films");
  if (!films.length) return;
  place.hidden = false;
  place.append(make("h2", {}, films.length === 1 ? "The film" : "Films"), make("div", { class: "row" }, ...films.map(tileOf)));
}

const counts = drawHead();
drawFilms();
drawPlots();
sheet.start(counts);
startViewer();
const needing = ["in_doubt", "failed", "parked"].filter((state) => counts.has(state));
for (const code of document.querySelectorAll(".advice code")) code.after(copyButton(code.textContent));
const hint = document.getElementById("needs-more");
if (hint) {
  hint.append(...needing.map((state) => make("button", { type: "button", class: "chip s-" + state, onclick: () => { sheet.pick(state); document.getElementById("tools").scrollIntoView(); } }, make("i"), `show ${number(counts.get(state))} ${word(state)}`)));
}
document.documentElement.dataset.ready = "true";
