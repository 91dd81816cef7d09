// A recommender's oracle, the ideal next item, next to another recommender's first recommendation.
import { make, probability } from "./dom.js";
import { post } from "./api.js";

// pair finds the runs to compare: the chosen run if it fits, else another one of the same data set.
export function pair(run, runs) {
  const same = [run, ...runs].filter(other => other.dataset === run.dataset && other.items === run.items);
  return { dreams: same.find(other => other.oracles), against: same.find(other => !other.oracles) };
}

export class Oracle {
  // drawn receives the name of a run and the place of its oracle on that run's map.
  constructor(panel, drawn) {
    [this.panel, this.drawn] = [panel, drawn];
  }

  // reset offers an oracle after a history, or says why there is none.
  reset({ dreams, against }, items) {
    const { panel } = this;
    if (!dreams) {
      return panel.rest("No run of this server has oracles. Add a run of a diffusion recommender to recint serve.");
    }
    if (items.length === 0) return panel.rest("Choose an item to draw the ideal next item.");
    panel.stop();
    panel.status.textContent = "";
    this.seed = 0;
    panel.show(
      make("p", { class: "soft" }, `${dreams.recommender} draws a vector for the ideal next item, which need not be the vector of any item.`),
      make("button", { click: () => this.draw(dreams, against, items) }, "Draw the ideal next item"));
  }

  draw(dreams, against, items) {
    const { panel } = this, history = items.map(item => item.id), seed = ++this.seed;
    panel.ask(async signal => {
      const [oracle, first] = await Promise.all([
        post("v1/oracle", { run: dreams.name, history, seed }, signal),
        against ? post("v1/recommend", { run: against.name, history, k: 1 }, signal) : null,
      ]);
      this.drawn(dreams.name, oracle.place);
      panel.show(
        make("dl", {},
          make("dt", {}, `${dreams.recommender}'s oracle, in words`), make("dd", {}, make("b", {}, oracle.words || "nothing")),
          make("dt", {}, `${against?.recommender ?? "Another recommender"}'s first recommendation`),
          make("dd", {}, first?.items[0] ? make("b", {}, first.items[0].title) : "This server has no other recommender of this data set.")),
        make("h3", {}, "The likeliest titles of the catalogue"),
        list(oracle.titles.map(t => [t.title, probability(Math.log(t.score))])),
        make("h3", {}, "The items that fit the vector best"),
        list(oracle.nearest.map(t => [t.title, t.score.toFixed(2)])),
        make("button", { click: () => this.draw(dreams, against, items) }, "Draw another one"),
        make("p", { class: "soft" }, `Number ${seed}, by ${dreams.name}${against ? `, compared with ${against.name}` : ""}.`));
      panel.status.textContent = `The oracle in words: ${oracle.words}.` +
        (first?.items[0] ? ` ${against.recommender} recommends ${first.items[0].title}.` : "");
    });
  }
}

const list = rows => make("ol", { class: "titles" }, ...rows.map(([title, number]) =>
  make("li", {}, title, make("span", { class: "number" }, number))));
