// A recommender's oracle, the ideal next item, beside another one's first recommendation.
import { make, probability } from "./dom.js";
import { post } from "./api.js";

// pair finds the runs that the comparison is of: the chosen run where it fits, another one of the same data set otherwise.
export function pair(run, runs) {
  const same = [run, ...runs].filter(other => other.dataset === run.dataset && other.items === run.items);
  return { dreams: same.find(other => other.oracles), against: same.find(other => !other.oracles) };
}

export class Oracle {
  // drawn is called with the name of a run and the place of its oracle on that run's map.
  constructor(panel, drawn) {
    [this.panel, this.drawn] = [panel, drawn];
  }

  // reset offers an oracle after a history, or says why there is none.
  reset({ dreams, against }, items) {
    const { panel } = this;
    if (!dreams) {
      return panel.rest("No run that is served here has oracles. Those of diffusion recommenders have: recint serve takes such a run beside this one.");
    }
    if (items.length === 0) return panel.rest("Choose an item, and the recommender can draw what would best come next.");
    panel.stop();
    panel.status.textContent = "";
    this.seed = 0;
    panel.show(
      make("p", { class: "soft" }, `${dreams.recommender} draws a vector for the ideal next item, which need not be that of any item.`),
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
          make("dd", {}, first?.items[0] ? make("b", {}, first.items[0].title) : "No other recommender of this data set is served beside it.")),
        make("h3", {}, "The likeliest titles of the catalogue"),
        list(oracle.titles.map(t => [t.title, probability(Math.log(t.score))])),
        make("h3", {}, "The items that fit the vector best"),
        list(oracle.nearest.map(t => [t.title, t.score.toFixed(2)])),
        make("button", { click: () => this.draw(dreams, against, items) }, "Draw another one"),
        make("p", { class: "soft" }, `Number ${seed}, by ${dreams.name}${against ? `, beside ${against.name}` : ""}.`));
      panel.status.textContent = `The oracle in words: ${oracle.words}.` +
        (first?.items[0] ? ` ${against.recommender} recommends ${first.items[0].title}.` : "");
    });
  }
}

const list = rows => make("ol", { class: "titles" }, ...rows.map(([title, number]) =>
  make("li", {}, title, make("span", { class: "number" }, number))));
