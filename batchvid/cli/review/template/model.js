// ---- what the page knows: rows by their place, as the server tells them. What a column is is said here alone.
const told = JSON.parse(document.getElementById("told").textContent);
const VERDICTS = ["", "approved", "rejected"], STARS_MAX = 5, EVERY_MS = 1000, HIDDEN_EVERY_MS = 5000;
const KINDS = { undecided: "to judge", approved: "approved", rejected: "rejected", running: "running", attention: "needs attention", pending: "pending" };
const UNDER_WAY = new Set(["running", "ready", "submitting"]), NEED_ATTENTION = new Set(["in_doubt", "failed", "parked"]);
const jobs = [], byName = new Map(), groups = new Map(), behind = new Map();
const model = { boards: [], revision: 0, isWhole: false, aheadS: 0, trouble: "" };

const takeOf = (row) => ({ attempt: row[0], bytes: row[1], version: row[2], verdict: VERDICTS[row[3]], stars: row[4], note: row[5], by: row[6], at: row[7] });
const decisionOf = (row) => ({ verdict: VERDICTS[row[0]], stars: row[1], note: row[2], by: row[3], at: row[4] });
const nameOf = (board, id) => board + "/" + id;

const fieldsOf = (row, takes) => ({
  place: row[0], id: row[1], board: row[2], state: told.states[row[3]], prompt: row[4], model: row[5], resolved: row[6], asked: row[7],
  frames: row[8], attempt: row[9], highest: row[10], paid: row[11], price: row[12], submittedAt: row[13], took: row[14],
  finishedAt: row[15], reason: row[16], continues: row[17] ? row[17][0] : "", continuesAt: row[17] ? row[17][1] : null,
  typical: row[18], takes, text: null,
});

function readRow(row) {
  const place = row[0], known = jobs[place];
  if (known) {
    const had = known.takes.length ? newestTake(known).attempt : 0;
    Object.assign(known, fieldsOf(row, row[19].map((one) => Object.assign(known.takes.find((take) => take.attempt === one[0]) || {}, takeOf(one)))));
    if (known.state === "done" && known.takes.length && newestTake(known).attempt > had) known.isNew = true;
    return known;
  }
  const job = fieldsOf(row, row[19].map(takeOf));
  job.isNew = model.isWhole && job.state === "done";
  jobs[place] = job;
  byName.set(nameOf(job.board, job.id), job);
  // Takes that the manifest asks for are jobs of one entry: kite, kite-2, kite-3. They are looked at together.
  const group = row[20];
  if (!groups.has(group)) groups.set(group, []);
  groups.get(group).push(job);
  if (job.continues) {
    const before = nameOf(job.board, job.continues);
    if (!behind.has(before)) behind.set(before, []);
    behind.get(before).push(job);
  }
  job.group = groups.get(group);
  return job;
}

const newestTake = (job) => job.takes[job.takes.length - 1];
const isCurrent = (job, take) => job.state === "done" && take.attempt === job.attempt;
const takesWith = (job) => job.group.flatMap((one) => one.takes.map((take) => ({ job: one, take })));
const modelOf = (job) => job.model + (job.resolved && job.resolved !== job.model ? " → " + job.resolved : "");

function kindOf(job) {
  if (UNDER_WAY.has(job.state)) return "running";
  if (NEED_ATTENTION.has(job.state)) return "attention";
  if (job.state !== "done" || !job.takes.length) return "pending";
  // What was decided about the newest clip counts; where nobody has, an earlier one that was approved is enough.
  return newestTake(job).verdict || (job.takes.some((take) => take.verdict === "approved") ? "approved" : "undecided");
}

// What the next run does about a job whose newest take is rejected; null: it has nothing to do with this take.
function again(job, take) {
  if (!isCurrent(job, take)) return null;
  const left = job.highest - job.attempt;
  return { left, most: job.price < 0 ? null : job.price * Math.max(0, left), followers: left > 0 ? followersOf(job) : [] };
}
// The finished clips that go on from a clip, directly or through others: with it they are bought again, or kept.
function followersOf(job) {
  const found = [];
  for (const one of behind.get(nameOf(job.board, job.id)) || []) {
    if (one.state !== "done") continue;
    if (one.kind !== "rejected") found.push(one);
    found.push(...followersOf(one));
  }
  return found;
}
const leftOf = (board) => (board.budget === null ? Infinity : Math.max(0, board.budget - board.spent - board.reserved));
const isRebought = (job) => model.boards[job.board].rebuys;
const mostOf = (job) => (job.price < 0 ? null : job.price * model.boards[job.board].attempts);
const nextRunOf = (active) => (active ? "The run after the one that is going on" : "The next run");
function redoCommand(job) { return model.boards[job.board].redo + " " + job.id; }

// ---- addresses: by manifest, attempt and job, and what is there at the end so that a new content has a new one
const address = (kind, job, which, version) => `/${kind}/${job.board}/${which}/${encodeURIComponent(job.id)}?v=${version}`;
const clipUrl = (job, take) => address("clip", job, take.attempt, take.version);
const pictureUrl = (job, take) => address("picture", job, take.attempt, take.version);
const frameUrl = (job, which) => address("frame", job, which, encodeURIComponent(job.frames[which]));

// ---- what is asked of the server
const serverNow = () => Date.now() / 1000 + model.aheadS;

async function ask(path, options) {
  const answer = await fetch(path, { credentials: "same-origin", ...options });  // no answer may be kept: the server says so
  if (answer.status === 403) throw new Error("This page's key is not valid any more: open the address that batchvid review printed.");
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.trouble || "The server could not do that.");
  return found;
}

async function refresh() {
  let found;
  try {
    found = await ask("/rows?after=" + model.revision);
    model.trouble = "";
  } catch (error) {
    model.trouble = error instanceof TypeError || error instanceof SyntaxError ? "batchvid review does not answer any more. It may have been ended: start it again, and open the address that it prints." : error.message;
    drawBanner();
    return;
  }
  model.aheadS = found.now - Date.now() / 1000;
  model.boards = found.boards;
  const changed = found.rows.map(readRow);
  model.revision = found.revision;
  const isFirst = !model.isWhole;
  model.isWhole = model.isWhole || found.revision > 0;
  takeUp(changed, isFirst);
}

async function follow() {
  for (;;) {
    await refresh();
    await new Promise((wake) => { follow.wake = wake; setTimeout(wake, document.hidden ? HIDDEN_EVERY_MS : EVERY_MS); });
  }
}

// ---- decisions: shown once they are durable
const undoing = [];

async function decide(job, take, set, unless) {
  const before = { verdict: take.verdict || null, stars: take.stars < 0 ? null : take.stars, note: take.note };
  const attempt = take.attempt;
  const kept = await ask("/decide", {
    method: "POST", headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ board: job.board, job: job.id, attempt, set, ...(unless ? { unless } : {}) }),
  });
  const now = job.takes.find((one) => one.attempt === attempt);
  if (now) Object.assign(now, decisionOf(kept));
  job.text = null;
  if (!unless) undoing.push({ job, attempt, before, at: kept[4] });
  takeUp([job], false);
  return kept;
}
