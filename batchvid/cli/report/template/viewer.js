// ---- the viewer: one clip or film, large, with all that is known of it
const viewer = { dialog: make("dialog", { "aria-label": "Clip" }), open: null };

function fact(list, label, ...inside) {
  const kept = inside.filter((part) => part !== "" && part !== null && part !== undefined);
  if (kept.length) list.append(make("dt", {}, label), make("dd", {}, ...kept));
}

function frameFigures(job) {
  const box = make("span", { class: "frames" });
  for (let at = 0; at < job.frames.length; at += 2) {
    const name = said(job.frames[at]), poster = said(job.frames[at + 1]);
    if (at) box.append("→");
    box.append(make("figure", {}, poster ? make("img", { src: pictureUrl(poster), alt: (at || job.continues ? "last frame " : "first frame ") + name }) : "", make("figcaption", {}, name)));
  }
  return box;
}

function factsOf(job) {
  const list = make("dl", { class: "facts" });
  if (job.film) {
    fact(list, "Parts", job.parts.join(" → "));
    fact(list, "Length", job.duration ? lasting(job.duration) : "");
  } else {
    if (job.continues) fact(list, "Continues", make("a", { href: "#clip=" + encodeURIComponent(job.continues) }, job.continues), ": it begins with " + (job.continuesAt === null ? "the last frame of that clip" : job.continuesAt < 0 ? `its frame ${-job.continuesAt} s before the end` : `its frame at ${job.continuesAt} s`));
    if (job.frames.length) fact(list, job.frames.length > 2 ? "Frames" : job.continues ? "Last frame" : "First frame", frameFigures(job));
    fact(list, "Model", modelOf(job));
    fact(list, "Asked", job.asked);
    fact(list, "Came", job.state === "done" ? job.reason : "");
    fact(list, "Generation", job.took ? lasting(job.took) : "");
    fact(list, "Paid", job.paid >= 0 ? money(job.paid) : "");
    fact(list, "Attempts", job.attempt ? String(job.attempt) : "");
    fact(list, "Submitted", job.submittedAt ? moment(job.submittedAt) : "");
    fact(list, "Finished", job.finishedAt ? moment(job.finishedAt) : "");
  }
  if (job.path) fact(list, "File", make("a", { href: fileUrl(job.path) }, job.path), job.bytes ? ", " + bytes(job.bytes) : "");
  return list;
}

function storyOf(job) {
  const parts = [];
  if (job.attempts && job.attempts.length) {
    const table = make("table");
    for (const [attempt, outcome, at, took, paid, reason] of job.attempts) {
      table.append(make("tr", {}, make("td", {}, "attempt " + attempt), make("td", {}, clock(at)), make("td", {}, paid >= 0 ? money(paid) : "–"),
        make("td", {}, (SUCCEEDED[outcome] || outcome) + (took ? " after " + lasting(took) : "") + (reason >= 0 ? ": " + said(reason) : ""))));
    }
    parts.push(make("h3", {}, "Attempts"), table);
  }
  if (job.troubles && job.troubles.length) {
    const table = make("table");
    for (let at = 0; at < job.troubles.length; at += 2) {
      table.append(make("tr", {}, make("td", {}, inDaySeconds.format(job.troubles[at] * 1000)), make("td", {}, ""), make("td", {}, ""), make("td", {}, said(job.troubles[at + 1]))));
    }
    parts.push(make("h3", {}, "What went wrong on the way"), table);
  }
  return parts;
}

function stageOf(job) {
  const stage = make("div", { class: "stage s-" + job.state });
  if (!job.path || job.state !== "done") {
    stage.classList.add("none");
    stage.append(make("div", { class: "said" }, make("b", {}, make("i"), word(job.state)), make("p", {}, job.reason || "There is no clip yet.")));
    return stage;
  }
  const video = make("video", { src: fileUrl(job.path), controls: true, playsinline: true, loop: !job.film, preload: "auto", poster: job.poster ? pictureUrl(job.poster) : null });
  video.addEventListener("error", () => stage.replaceChildren(make("p", { class: "said" }, "This clip cannot be played from here: " + job.path + " is missing, or this browser does not know its format.")));
  stage.append(video);
  const playing = video.play();
  if (playing) playing.catch(() => { /* a browser that wants a further click shows its controls */ });
  return stage;
}

function reviewOf(job) {
  if (!job.review) return "";
  const who = "by " + job.review.by + ", " + moment(job.review.at);
  return make("p", { class: "review v-" + (job.review.verdict || "none") }, make("b", {}, judged(job.review)), job.review.note ? " " + job.review.note : "", make("small", {}, who));
}

function openClip(job) {
  viewer.open = job;
  const step = (by) => () => stepClip(by), isThere = Boolean(job.path) && job.state === "done";
  const handles = make("div", { class: "handles" },
    job.film ? "" : make("button", { type: "button", "aria-label": "Clip before (←)", title: "←", onclick: step(-1) }, "‹"),
    job.film ? "" : make("button", { type: "button", "aria-label": "Next clip (→)", title: "→", onclick: step(1) }, "›"),
    make("button", { type: "button", "aria-label": "Close (Esc)", title: "Esc", onclick: () => viewer.dialog.close() }, "✕"));
  const told = make("div", { class: "told" }, make("h2", {}, job.id),
    make("p", { class: "state s-" + job.state }, make("i"), word(job.state)), reviewOf(job), job.prompt ? make("p", { class: "prompt" }, job.prompt) : "", factsOf(job), ...storyOf(job));
  viewer.dialog.replaceChildren(make("div", { class: "view" + (isThere ? "" : " none") }, stageOf(job), told), handles);
  viewer.dialog.setAttribute("aria-label", job.id);
  if (!viewer.dialog.open) viewer.dialog.showModal();
  history.replaceState(null, "", "#clip=" + encodeURIComponent(job.id));
}

function stepClip(by) {
  if (!viewer.open || viewer.open.film) return;
  const next = sheet.shown[sheet.shown.indexOf(viewer.open) + by];
  if (next) { sheet.moveTo(next); openClip(next); }
}

function startViewer() {
  const { dialog } = viewer;
  document.body.append(dialog);
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => {
    if (dialog.open) return;  // it was opened again before it heard that it was closed
    const job = viewer.open;
    viewer.open = null;
    dialog.replaceChildren();  // the player lets go of its file
    history.replaceState(null, "", location.pathname + location.search);
    if (job && !job.film) sheet.focus(job);
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.target.tagName === "VIDEO") return;
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") { stepClip(event.key === "ArrowLeft" ? -1 : 1); event.preventDefault(); }
    const video = dialog.querySelector("video");
    if (event.key === " " && video && event.target.tagName !== "BUTTON") { if (video.paused) video.play(); else video.pause(); event.preventDefault(); }
  });
  const follow = () => {
    const id = location.hash.startsWith("#clip=") ? decodeURIComponent(location.hash.slice(6)) : "";
    const job = id && (jobs.find((one) => one.id === id) || films.find((one) => one.id === id));
    if (job) openClip(job);
  };
  addEventListener("hashchange", follow);
  follow();
}
