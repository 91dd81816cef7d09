// The history: items in the order in which they were chosen.
import { by, make } from "./dom.js";

export class History {
  // changed is called after each change.
  constructor(changed) {
    this.items = [];
    this.changed = changed;
    by("clear").addEventListener("click", () => {
      this.set([], "The history is empty.");
      by("search").focus();
    });
  }

  get ids() {
    return this.items.map(item => item.id);
  }

  add(item) {
    this.set([...this.items, item], `${item.title} was added.`);
  }

  remove(i) {
    this.set(this.items.toSpliced(i, 1), `${this.items[i].title} was removed.`);
    const left = by("chosen").querySelectorAll(".remove");
    (left[Math.min(i, left.length - 1)] ?? by("search")).focus();
  }

  move(i, step, button) {
    const items = this.items.toSpliced(i, 1);
    items.splice(i + step, 0, this.items[i]);
    this.set(items, `${this.items[i].title} is now number ${i + step + 1}.`);
    const row = by("chosen").children[i + step], same = row.querySelector("." + button);
    (same.disabled ? row.querySelector("button:not(:disabled)") : same).focus(); // where the item has gone
  }

  set(items, said) {
    this.items = items;
    by("chosen-said").textContent = said;
    this.changed();
  }

  // render shows the items with their notes. Only the last ones count.
  render(counting, notes) {
    const n = this.items.length, first = Math.max(0, n - counting);
    by("chosen").replaceChildren(...this.items.map((item, i) => make("li", { class: i < first ? "past" : null },
      make("span", { class: "title" }, item.title, notes[i] ?? null),
      make("span", { class: "buttons" },
        this.button("up", "↑", `Move ${item.title} up`, i === 0, () => this.move(i, -1, "up")),
        this.button("down", "↓", `Move ${item.title} down`, i === n - 1, () => this.move(i, 1, "down")),
        this.button("remove", "✕", `Remove ${item.title}`, false, () => this.remove(i))))));
    by("chosen-note").textContent = n === 0 ? "The history is empty. Click items to add them in that order."
      : first > 0 ? `The recommender looks at the last ${counting}; items that are struck out no longer count.` : "";
    by("clear").hidden = n === 0;
  }

  button(name, sign, label, disabled, click) {
    return make("button", { class: name, "aria-label": label, title: label, disabled, click }, sign);
  }
}
