// ---- plots: drawn as SVG, of the width that they have
const SVG = "http://www.w3.org/2000/svg";
function draw(tag, names, ...inside) {
  const found = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(names || {})) found.setAttribute(name, value);
  found.append(...inside);
  return found;
}
const niceStep = (span, many) => {
  const least = span / many, power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((nice) => nice * power).find((step) => step >= least);
};
const TIME_STEPS = [1, 2, 5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];

function card(title, wide) {
  const head = make("header", {}, make("h2", {}, title));
  const figure = make("div", { class: wide ? "plot wide" : "plot" }, head);
  document.getElementById("plots").append(figure);
  return { figure, head };
}

// What happened when: tasks submitted and clips done as lines that rise, tasks under way below them.
function drawNight(svg, key, night, width) {
  const left = 44, right = width - 4, top = 10, middle = 132, low = 154, bottom = 204;
  const span = Math.max(1e-6, night.to - night.from);
  const x = (at) => left + ((at - night.from) / span) * (right - left);
  const most = Math.max(1, ...night.submitted, ...night.done), many = Math.max(1, ...night.running);
  const y = (value) => middle - (value / most) * (middle - top), yLow = (value) => bottom - (value / many) * (bottom - low);
  const last = Math.max(1, night.done.length - 1), at = (place) => night.from + (span * place) / last;
  const path = (series, of) => series.map((value, place) => (place ? "L" : "M") + x(at(place)).toFixed(1) + " " + of(value).toFixed(1)).join("");
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} 226`);
  for (const [from, to] of night.slowed) {
    const wide = Math.max(2, x(to) - x(from));
    svg.append(draw("rect", { class: "slow", x: x(from), y: top, width: wide, height: bottom - top }),
      draw("rect", { class: "slow-edge", x: x(from), y: top - 3, width: wide, height: 2 }));
  }
  const step = Math.max(1, niceStep(most, 3));
  for (let value = 0; value <= most; value += step) {
    svg.append(draw("line", { class: value ? "rule" : "axis", x1: left, x2: right, y1: y(value), y2: y(value) }),
      draw("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, number(value)));
  }
  svg.append(draw("text", { x: left - 8, y: yLow(many) + 8, "text-anchor": "end" }, number(many)),
    draw("line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom }));
  const wanted = Math.max(2, Math.floor((right - left) / 90));
  const tick = TIME_STEPS.find((one) => span / one <= wanted) || 86400 * Math.ceil(span / 86400 / wanted);
  const offset = new Date(night.from * 1000).getTimezoneOffset() * 60;
  for (let when = Math.ceil((night.from - offset) / tick) * tick + offset; when <= night.to; when += tick) {
    const near = x(when) > right - 20 ? "end" : x(when) < left + 20 ? "start" : "middle";
    svg.append(draw("line", { class: "axis", x1: x(when), x2: x(when), y1: bottom, y2: bottom + 4 }),
      draw("text", { x: x(when), y: bottom + 18, "text-anchor": near }, tick < 60 ? inDaySeconds.format(when * 1000) : clock(when)));
  }
  svg.append(draw("path", { class: "area", d: path(night.running, yLow) + `L${right} ${bottom}L${left} ${bottom}Z` }),
    draw("path", { class: "line submitted", d: path(night.submitted, y) }), draw("path", { class: "line done", d: path(night.done, y) }));
  const cross = draw("line", { class: "cross", y1: top, y2: bottom, visibility: "hidden" });
  svg.append(cross);
  const tell = (place) => {
    const here = place === null ? last : place, slow = night.slowed.filter(([from, to]) => place !== null && from <= at(place) && at(place) <= to);
    const item = (name, label, value) => make("span", { class: "k-" + name }, make("i"), label + " ", value === null ? "" : make("b", {}, number(value)));
    key.replaceChildren(item("submitted", "submitted", night.submitted[here]), item("done", "done", night.done[here]),
      item("running", place === null ? "running, at most" : "running", place === null ? many : night.running[here]),
      night.slowed.length ? item("slow", slow.length ? `slowed to ${Math.round(Math.min(...slow.map((one) => one[2])) * 100)} % of the pace` : "slowed by the service", null) : "",
      make("span", {}, place === null ? "" : make("b", {}, inDaySeconds.format(at(place) * 1000))));
  };
  svg.onpointermove = (event) => {
    const box = svg.getBoundingClientRect(), share = (((event.clientX - box.left) / box.width) * width - left) / (right - left);
    const place = Math.max(0, Math.min(last, Math.round(share * last)));
    cross.setAttribute("x1", x(at(place))); cross.setAttribute("x2", x(at(place))); cross.setAttribute("visibility", "visible");
    tell(place);
  };
  svg.onpointerleave = () => { cross.setAttribute("visibility", "hidden"); tell(null); };
  tell(null);
}

function drawTook(svg, took, width) {
  const left = 4, right = width - 4, top = 22, bottom = 204, most = Math.max(...took.counts), bins = took.counts.length;
  const x = (seconds) => left + (seconds / (bins * took.width)) * (right - left);
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} 226`);
  took.counts.forEach((count, bin) => {
    const high = Math.max(count ? 1.5 : 0, (count / most) * (bottom - top)), x1 = x(bin * took.width), isLast = bin === bins - 1 && took.longest > bins * took.width;
    svg.append(draw("rect", { class: "bin", x: x1 + 0.75, y: bottom - high, width: Math.max(1, x((bin + 1) * took.width) - x1 - 1.5), height: high, rx: 1.5 },
      draw("title", {}, `${lasting(bin * took.width)} ${isLast ? "and more" : "to " + lasting((bin + 1) * took.width)}: ${number(count)}`)));
  });
  svg.append(draw("line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom }));
  const step = niceStep(bins * took.width, Math.max(2, Math.floor(width / 80)));
  for (let seconds = 0; seconds <= bins * took.width + 1e-6; seconds += step) {
    const near = x(seconds) > right - 16 ? "end" : x(seconds) < left + 16 ? "start" : "middle";
    svg.append(draw("text", { x: x(seconds), y: bottom + 18, "text-anchor": near }, lasting(seconds)));
  }
  const mark = Math.min(x(took.median), right), near = mark > width / 2 ? "end" : "start";
  svg.append(draw("line", { class: "mark", x1: mark, x2: mark, y1: top - 6, y2: bottom }),
    draw("text", { x: mark + (near === "end" ? -5 : 5), y: top - 8, "text-anchor": near }, "median " + lasting(took.median)));
}

function drawMoney(figure) {
  const list = make("div", { class: "money" }), most = Math.max(1, ...data.models.map((one) => one[3] + one[5]));
  const shown = data.models.slice(0, 6);
  for (const [model, attempts, clips, spent, lost, held] of shown) {
    const track = make("div", { class: "track" });
    for (const [name, part] of [["", spent - lost], ["lost", lost], ["held", held]]) {
      const bar = make("i", { class: name });
      bar.style.width = (part / most) * 100 + "%";
      track.append(bar);
    }
    const beside = [`${number(clips)} clips from ${number(attempts)} attempts`, lost ? `${money(lost)} without a clip` : ""];
    list.append(make("div", {}, make("p", {}, make("span", {}, model), make("b", {}, money(spent) + " spent" + (held ? " + " + money(held) + " reserved" : ""))), track, make("small", {}, beside.filter(Boolean).join(" · "))));
  }
  if (data.models.length > shown.length) list.append(make("small", {}, `and ${data.models.length - shown.length} more models`));
  figure.append(list);
}

function drawPlots() {
  const place = document.getElementById("plots"), redraw = [];
  const onWidth = (svg, does) => redraw.push(() => does(Math.max(220, Math.round(svg.getBoundingClientRect().width))));
  if (data.nights.length) {
    const { figure, head } = card("Timeline", true), svg = draw("svg", { height: 226, role: "img" }), key = make("div", { class: "key" });
    let night = data.nights[data.nights.length - 1];
    svg.setAttribute("aria-label", `From ${moment(night.from)} to ${moment(night.to)}: ${night.submitted.at(-1)} submitted, ${night.done.at(-1)} done`);
    if (data.nights.length > 1) {
      const pick = make("select", { "aria-label": "Which timeline", onchange: () => { night = data.nights[pick.value]; redraw.forEach((one) => one()); } });
      data.nights.forEach((one, at) => pick.append(make("option", { value: at, selected: one === night }, stretch(one.from, one.to))));
      head.append(pick);
    }
    figure.append(svg, key);
    onWidth(svg, (width) => drawNight(svg, key, night, width));
  }
  if (data.took) {
    const { figure } = card("Generation time"), svg = draw("svg", { height: 226, role: "img", "aria-label": `Half of the generations took up to ${lasting(data.took.median)}` });
    figure.append(svg);
    onWidth(svg, (width) => drawTook(svg, data.took, width));
  }
  if (data.models.length) drawMoney(card("Money by model").figure);
  place.hidden = !place.children.length;
  const all = () => redraw.forEach((one) => one());
  all();
  new ResizeObserver(all).observe(place);
}
