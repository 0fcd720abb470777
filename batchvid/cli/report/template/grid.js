// ---- a grid of tiles: only what is in sight is in the document, however many there are
// Whoever spreads this says what there is: grid, shown, tiles, tall, empty and a function tileOf.
const CAPTION = 92, OVERSCAN = 2;
const virtual = {
  layOut() {
    const wide = this.grid.clientWidth, gap = wide < 560 ? 12 : 18, least = wide < 560 ? 150 : wide < 1000 ? 200 : 236;
    const portrait = this.tall ? [4, 5] : [16, 9];
    this.columns = Math.max(1, Math.floor((wide + gap) / (least + gap)));
    this.gap = gap;
    this.width = (wide - gap * (this.columns - 1)) / this.columns;
    this.height = Math.round((this.width * portrait[1]) / portrait[0]) + CAPTION + gap;
    this.grid.style.setProperty("--shape", portrait.join(" / "));
    this.grid.style.height = Math.ceil(this.shown.length / this.columns) * this.height + "px";
    this.empty.hidden = this.shown.length > 0;
    this.draw(true);
  },

  draw(moved) {
    if (this.printing) return; // paper changes the width, and all tiles are to stay
    const top = -this.grid.getBoundingClientRect().top, rows = Math.ceil(this.shown.length / this.columns);
    const first = Math.max(0, Math.floor(top / this.height) - OVERSCAN), last = Math.min(rows, Math.ceil((top + innerHeight) / this.height) + OVERSCAN);
    const wanted = new Set();
    const fresh = document.createDocumentFragment();
    for (let place = first * this.columns; place < Math.min(this.shown.length, last * this.columns); place += 1) {
      const job = this.shown[place];
      wanted.add(job);
      let tile = this.tiles.get(job);
      if (tile && !moved) continue;
      if (!tile) {
        tile = tileOf(job);
        this.tiles.set(job, tile);
        fresh.append(tile);
      }
      tile.style.width = this.width + "px";
      tile.style.height = this.height - this.gap + "px";
      tile.style.transform = `translate(${(place % this.columns) * (this.width + this.gap)}px, ${Math.floor(place / this.columns) * this.height}px)`;
    }
    for (const [job, tile] of this.tiles) {
      if (!wanted.has(job) && tile !== document.activeElement) { tile.remove(); this.tiles.delete(job); }
    }
    this.grid.append(fresh);
  },

  moveTo(job) {
    const place = this.shown.indexOf(job);
    if (place < 0) return;
    const top = this.grid.getBoundingClientRect().top + Math.floor(place / this.columns) * this.height;
    if (top < 90) scrollBy(0, top - 90);
    else if (top + this.height > innerHeight) scrollBy(0, top + this.height - innerHeight);
    this.draw(false);
  },

  focus(job) { this.moveTo(job); const tile = this.tiles.get(job); if (tile) tile.focus({ preventScroll: true }); },
};
