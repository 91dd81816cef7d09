// The map: items in the plane, and the path of the states, or of the chosen items, through it.
import { draw, make } from "./dom.js";
import { get, post } from "./api.js";

const margin = 18;

export class ItemMap {
  constructor(panel, add) {
    [this.panel, this.add] = [panel, add];
    this.maps = new Map(); // of runs, by name and hash
    this.map = null;
    this.best = []; // items that are marked
    this.oracle = null; // the run and the place of the latest one
    this.near = false; // whether the path fills the picture
  }

  // show asks for the map of a run, once, and for the path of a history.
  async show(run, items, signal) {
    this.map = null; // until it is complete
    const name = run.name + " " + run.hash, history = items.map(item => item.id);
    if (!this.maps.has(name)) this.maps.set(name, await get("v1/map", { run: run.name }, signal));
    this.path = history.length > 0 ? (await post("v1/path", { run: run.name, history }, signal)).points : [];
    signal.throwIfAborted();
    this.first = items.length - this.path.length; // the number of the first item on the path
    this.items = items.slice(this.first);
    [this.run, this.map] = [run, this.maps.get(name)];
    this.render();
  }

  // recommend marks items, now or when the map has arrived.
  recommend(best) {
    this.best = best;
    this.render();
  }

  // place marks the oracle of a run, now or when the map of that run has arrived.
  place(run, place) {
    this.oracle = { run, place };
    this.render();
  }

  // forget removes the marks of another history.
  forget() {
    [this.best, this.oracle] = [[], null];
  }

  // render draws the map if it is complete: a click may come while the next one is loading.
  render() {
    if (!this.map) return;
    const { map, panel } = this, states = map.of === "states";
    const oracles = this.oracle?.run === this.run.name ? [this.oracle.place] : [];
    const chosen = this.pick(this.items), best = this.pick(this.best);
    const { place, width, height } = scale(Math.max(280, panel.body.clientWidth),
      this.near && this.path.length > 0 ? [...this.path, ...chosen, ...oracles] : [...map.items, ...this.path, ...oracles]);
    const dot = (of, r, name) => {
      const { x, y } = place(of);
      return draw("circle", { cx: x, cy: y, r, class: name });
    };
    const picture = draw("svg", {
      viewBox: `0 0 ${width} ${height}`, role: "img",
      "aria-label": `${map.items.length} items in the plane` + (this.path.length === 0 ? "" : `, with a path through ${this.path.length} ` +
        (states ? "states" : "chosen items")),
      pointermove: event => event.pointerType === "mouse" && this.point(event, place, width, false),
      click: event => this.point(event, place, width, true),
    },
    draw("g", {}, ...map.items.map(item => dot(item, 2, "item"))),
    draw("g", {}, ...best.map(item => dot(item, 3.5, "best"))),
    draw("polyline", { points: this.path.map(place).map(({ x, y }) => `${x},${y}`).join(" ") }),
    draw("g", {}, ...(states ? chosen.map(item => dot(item, 5, "chosen")) : [])),
    draw("g", {}, ...this.path.flatMap((point, i) => {
      const { x, y } = place(point);
      return [draw("circle", { cx: x, cy: y, r: i === this.path.length - 1 ? 6 : 4, class: "stop" }),
        draw("text", { x: x + 7, y: y - 5 }, String(this.first + i + 1))];
    })),
    draw("g", {}, ...oracles.map(place).map(({ x, y }) => draw("path", { d: diamond(x, y), class: "oracle" }))));
    this.caption = make("p", { class: "caption" }, "Point at an item to see its name.");
    panel.show(picture, this.caption, this.legend(states, oracles.length > 0),
      this.path.length === 0 ? "" : make("button", { "aria-pressed": String(this.near), click: () => this.zoom() }, "Zoom to the path"),
      make("p", { class: "soft" }, this.explain(states)));
    panel.status.textContent = "";
  }

  zoom() {
    this.near = !this.near;
    this.render();
  }

  // pick returns the places of those items that the map shows.
  pick(items) {
    const ids = new Set(items.map(item => item.id));
    return this.map.items.filter(item => ids.has(item.id));
  }

  // point names the item nearest to the pointer, and offers it after a click.
  point(event, place, width, clicked) {
    const box = event.currentTarget.getBoundingClientRect(), factor = width / box.width;
    const [px, py] = [(event.clientX - box.left) * factor, (event.clientY - box.top) * factor];
    let nearest = null, least = 20;
    for (const item of this.map.items) {
      const { x, y } = place(item), distance = Math.hypot(x - px, y - py);
      if (distance < least) [nearest, least] = [item, distance];
    }
    if (!nearest || !clicked && this.caption.querySelector("button")) return;
    this.caption.replaceChildren(nearest.title + " ");
    if (clicked) this.caption.append(make("button", { click: () => this.add({ id: nearest.id, title: nearest.title }) }, "Choose it"));
  }

  legend(states, oracle) {
    const mark = (name, text) => make("span", {}, draw("svg", { viewBox: "0 0 14 14", "aria-hidden": "true" }, name === "oracle"
      ? draw("path", { d: diamond(7, 7), class: name })
      : draw("circle", { cx: 7, cy: 7, r: name === "item" ? 2 : 5, class: name })), text);
    return make("p", { class: "legend marks soft" }, mark("item", "items"), mark("best", "recommended"),
      states ? mark("chosen", "chosen") : null, mark("stop", states ? "states, by the last choice's number" : "chosen, by number"),
      oracle ? mark("oracle", "the oracle") : null);
  }

  explain(states) {
    const { map, run } = this, [x, y] = map.shares.map(share => Math.round(100 * share));
    const most = `The plane shows ${x} % and ${y} % of their variance, so that points that look near may be far apart.` +
      (map.items.length < map.catalogue
        ? ` The points are a sample of ${map.items.length.toLocaleString("en")} of the ${map.catalogue.toLocaleString("en")} items.` : "");
    return states
      ? `Points are the vectors by which ${run.recommender} scores items: a score is the product of that vector with the state, so that ` +
        `states are in the same space. ${most} The line goes through the state after each choice, each scaled to the length of an ` +
        "item's vector, since its direction ranks the items."
      : `Points are the items' embeddings. ${most} ${run.recommender}'s states are in another space, so the line goes through the ` +
        "chosen items themselves.";
  }
}

const diamond = (x, y) => `M${x} ${y - 7}l6 7l-6 7l-6 -7z`;

// scale returns the size of a picture of a width, and a function from places into it. All given places fit; both axes have
// one scale.
function scale(width, places) {
  const [xs, ys] = [places.map(p => p.x), places.map(p => p.y)];
  const [left, right, low, high] = [least(xs), -least(xs.map(x => -x)), least(ys), -least(ys.map(y => -y))];
  const across = Math.max(right - left, 1e-6), up = Math.max(high - low, 1e-6), inner = width - 2 * margin;
  const height = 2 * margin + Math.round(Math.min(Math.max(inner * up / across, 200), 0.7 * inner));
  const factor = Math.min(inner / across, (height - 2 * margin) / up), [cx, cy] = [(left + right) / 2, (low + high) / 2];
  const round = x => Math.round(10 * x) / 10;
  return { width, height, place: p => ({ x: round(width / 2 + factor * (p.x - cx)), y: round(height / 2 - factor * (p.y - cy)) }) };
}

const least = xs => xs.reduce((a, b) => Math.min(a, b), Infinity);
