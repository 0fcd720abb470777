// The page's own script, in one scope. What the columns of a row are is said here, and nowhere else.
const data = JSON.parse(document.getElementById("data").textContent);
const said = (place) => (place < 0 ? "" : data.strings[place]);
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

// A name is data: each part of a path is quoted, and "./" before it keeps it from being an address.
const fileUrl = (path) => "./" + path.split("/").map(encodeURIComponent).join("/");
const pictureUrl = (name) => fileUrl(data.files + "/" + name + ".webp");

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
