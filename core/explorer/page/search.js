// The search for items: a text field with a list that arrow keys walk through.
import { by, make } from "./dom.js";
import { get } from "./api.js";

const shown = 8;

export class Search {
  // run returns the name of the chosen run, undefined while none is known; add receives an item.
  constructor(run, add) {
    [this.run, this.add] = [run, add];
    [this.field, this.list, this.note] = [by("search"), by("found"), by("found-note")];
    this.items = [];
    this.field.addEventListener("input", () => this.find());
    this.field.addEventListener("keydown", event => this.press(event));
  }

  // find searches for the text of the field, or for some items to start with if it is empty.
  async find() {
    this.asking?.abort();
    const run = this.run();
    if (!run) return; // text typed before the runs have loaded is searched later
    const asking = this.asking = new AbortController(), query = this.field.value.trim();
    this.list.ariaBusy = "true";
    try {
      const found = await get("v1/items", { run, query, limit: shown }, asking.signal);
      if (asking.signal.aborted) return;
      this.items = found.items;
      this.note.textContent = explain(query, found);
      this.render(query && this.items.length > 0 ? 0 : -1);
      this.list.ariaBusy = "false";
    } catch (problem) {
      if (asking.signal.aborted) return;
      this.close();
      this.note.textContent = `Nothing was found: ${problem.message}.`;
    }
  }

  close() {
    this.asking?.abort();
    this.list.ariaBusy = "false";
    this.items = [];
    this.note.textContent = "";
    this.render(-1);
  }

  render(active) {
    this.active = active;
    this.list.hidden = this.items.length === 0;
    this.field.setAttribute("aria-expanded", !this.list.hidden);
    this.list.replaceChildren(...this.items.map((item, i) => make("li", {
      role: "option", id: `found-${i}`, "aria-selected": i === active ? "true" : "false",
      pointerdown: event => event.preventDefault(), // the field keeps the focus
      click: () => this.take(i),
    }, item.title, item.raw_title === item.title ? null : make("small", { class: "soft" }, item.raw_title))));
    if (active < 0) this.field.removeAttribute("aria-activedescendant");
    else this.field.setAttribute("aria-activedescendant", `found-${active}`);
    this.list.children[active]?.scrollIntoView({ block: "nearest" });
  }

  take(i) {
    const item = this.items[i];
    this.field.value = "";
    this.close();
    this.add({ id: item.id, title: item.title });
  }

  press(event) {
    const n = this.items.length, step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && n === 0) this.find();
    else if (step) this.render(this.active < 0 ? (step > 0 ? 0 : n - 1) : (this.active + step + n) % n);
    else if (event.key === "Enter" && this.active >= 0) this.take(this.active);
    else if (event.key === "Escape" && (n > 0 || this.field.value)) {
      this.field.value = "";
      this.close();
    } else return;
    event.preventDefault();
  }
}

// explain describes the list.
function explain(query, { items, similar }) {
  if (items.length === 0) return "No title is similar.";
  if (!query) return "Some items to start with:";
  return similar ? "No title contains these words; the most similar ones are:" : "";
}
