// ---- keys: everything can be done with them, and each is on a button, too
const KEYS = [
  ["space", "play, pause"], ["j  k  → ←", "next, previous"], ["a", "approve"], ["r", "reject, with a note"], ["0 – 5", "stars"], ["n", "note"], ["u", "undo"],
  ["t", "takes side by side, in step"], ["f", "first and last frame beside the clip"], ["/", "search"], ["Enter", "open the clip"], ["Esc", "leave, close"], ["?", "these keys"],
];
const keysDialog = make("dialog", { class: "keys-dialog", "aria-label": "Keys" });

function showKeys() {
  keysDialog.replaceChildren(make("h2", {}, "Keys"), make("dl", {}, ...KEYS.flatMap(([key, does]) => [make("dt", {}, make("kbd", {}, key)), make("dd", {}, does)])),
    make("div", { class: "buttons" }, make("button", { type: "button", class: "do plain", onclick: () => keysDialog.close() }, "Close (Esc)")));
  keysDialog.showModal();
}

// What a key is about: the clip on the stage, or the one that was last in focus on the wall.
function current() {
  if (stage.dialog.open) return { job: stage.job, take: stage.take };
  return wall.at ? { job: wall.at, take: newestTake(wall.at) } : {};
}

const ACTIONS = {
  a: ({ job, take }) => { if (take) approve(job, take); },
  r: () => startWriting("rejected"),
  n: () => startWriting(null),
  u: () => undo(),
  t: () => toggleTakes(),
  f: () => toggleFrames(),
  j: () => move(1),
  k: () => move(-1),
  ArrowRight: () => move(1),
  ArrowLeft: () => move(-1),
  ArrowDown: () => move(stage.dialog.open ? 1 : wall.columns),
  ArrowUp: () => move(stage.dialog.open ? -1 : -wall.columns),
  Home: () => { if (!stage.dialog.open && wall.shown.length) wall.focus(wall.shown[0]); },
  End: () => { if (!stage.dialog.open && wall.shown.length) wall.focus(wall.shown[wall.shown.length - 1]); },
  " ": () => { if (stage.dialog.open) playPause(); else if (wall.at) openClip(wall.at); },
  "?": () => showKeys(),
  "/": () => { if (!stage.dialog.open) { wall.find.focus(); wall.find.select(); } },
};
for (let value = 0; value <= STARS_MAX; value += 1) ACTIONS[value] = ({ job, take }) => { if (take) star(job, take, value); };

function startKeys() {
  document.body.append(keysDialog);
  keysDialog.addEventListener("click", (event) => { if (event.target === keysDialog) keysDialog.close(); });
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || keysDialog.open) return;
    const { target } = event, kind = target.tagName;
    if (kind === "TEXTAREA" || kind === "SELECT" || (kind === "INPUT" && target.type !== "range")) return;
    if (kind === "INPUT" && event.key.startsWith("Arrow")) return;
    if ((kind === "BUTTON" || kind === "A") && (event.key === " " && kind === "BUTTON")) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key, does = ACTIONS[key];
    if (!does || (event.repeat && !/^[jk]$|^Arrow/.test(key))) return;
    event.preventDefault();
    event.stopPropagation();
    does(current());
  }, true);
}

// The key of the address is in a cookie by now, and leaves the address bar.
if (location.search) history.replaceState(null, "", location.pathname + location.hash);
// Who comes back to the tab is told at once what has happened meanwhile.
addEventListener("visibilitychange", () => { if (!document.hidden && follow.wake) follow.wake(); });
follow();
