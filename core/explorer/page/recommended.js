// The items with the highest scores after a history.
import { make, signed } from "./dom.js";
import { post } from "./api.js";

export async function recommend(panel, run, items, add, signal) {
  const history = items.map(item => item.id);
  const { items: best } = await post("v1/recommend", { run: run.name, history, k: Math.min(10, run.items) }, signal);
  panel.show(
    make("p", { class: "soft" }, `${run.recommender}'s highest scores, without chosen items; click one to choose it:`),
    make("ol", { class: "titles" }, ...best.map(item => make("li", {},
      make("button", { class: "pick", click: () => add({ id: item.id, title: item.title }) }, item.title),
      make("span", { class: "number" }, signed(item.score))))));
  panel.status.textContent = best.length > 0 ? `The first recommendation is ${best[0].title}.` : "There is no item left to recommend.";
  return best;
}
