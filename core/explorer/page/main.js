// The page: a history, and a run's answers about it.
import { by, keepFocus, make, probability } from "./dom.js";
import { get, key, server } from "./api.js";
import { History } from "./history.js";
import { ItemMap } from "./map.js";
import { Oracle, pair } from "./oracle.js";
import { Panel } from "./panel.js";
import { recommend } from "./recommended.js";
import { Search } from "./search.js";
import { interpret, verdict } from "./words.js";

const store = "recint.history";
const [words, recommended, map] = ["words", "recommended", "map"].map(id => new Panel(by(id)));
let runs = [], run = null;

const history = new History(update);
const choose = item => history.add(item);
const search = new Search(() => run?.name, choose);
const chart = new ItemMap(map, choose);
const oracle = new Oracle(new Panel(by("oracle")), (name, place) => chart.place(name, place));

// said keeps the answers about the last item of a history, so that the list can show them later.
const said = new Map();
const asked = items => JSON.stringify([run.name, run.hash, items.map(item => item.id)]);

function notes(items) {
  return items.map((item, i) => {
    const answer = said.get(asked(items.slice(0, i + 1)));
    return answer && make("small", {}, "in words: ", make("b", {}, answer.text || "nothing"), ` (${probability(answer.log_prob)}) `,
      verdict(answer.truth[0].named));
  });
}

const render = () => history.render(run.positions, notes(history.items));

// update shows the run's answers about the current history.
function update() {
  const { items } = history, of = run;
  sessionStorage.setItem(store, JSON.stringify({ dataset: of.dataset, items }));
  render();
  if (items.length === 0 && !by("search").value) search.find();
  oracle.reset(pair(of, runs), items);
  chart.forget();
  map.ask(signal => chart.show(of, items, signal));
  if (items.length === 0) {
    words.rest("Choose items to put the recommender's states into words.");
    recommended.rest("Choose an item to see recommendations.");
    return;
  }
  recommended.ask(async signal => chart.recommend(await recommend(recommended, of, items, choose, signal)));
  if (items.length < of.shortest) {
    words.rest("Choose one more item: words come from the state before and after the last choice.");
    return;
  }
  words.ask(async signal => {
    const answer = await interpret(words, of, items, signal);
    if (!of.title) return;
    said.set(asked(items), answer);
    keepFocus(by("chosen"), render);
  });
}

// use selects a run. A history of another data set has no meaning for it.
function use(next) {
  const other = run && (run.dataset !== next.dataset || run.items !== next.items);
  run = next;
  if (by("search").value) search.find();
  by("run").value = run.name;
  by("about").textContent = `${run.recommender} on ${run.dataset}, ${run.items.toLocaleString("en")} items. It names ${run.question}.`;
  if (other) history.set([], "This run has another data set; the history is now empty.");
  else update();
}

// stored returns the history of the tab from before a reload.
function stored(dataset) {
  try {
    const kept = JSON.parse(sessionStorage.getItem(store));
    return kept.dataset === dataset ? kept.items : [];
  } catch {
    return [];
  }
}

async function start(signal) {
  runs = (await get("v1/runs", {}, signal)).runs;
  by("forget").hidden = key.get() === null;
  by("run").replaceChildren(...runs.map(r => make("option", { value: r.name }, `${r.name} (${r.recommender}, ${r.asks})`)));
  by("run").disabled = false;
  const same = runs.find(r => r.name === run?.name);
  if (!run) history.items = stored(runs[0].dataset);
  use(same ?? runs[0]);
}

by("run").addEventListener("change", event => use(runs.find(r => r.name === event.target.value)));
by("forget").addEventListener("click", () => {
  key.forget();
  sessionStorage.removeItem(store);
  location.reload();
});

// A key is asked for once, for all requests that wait for it.
let waiting = null;
key.ask = refused => waiting ??= new Promise(done => {
  const dialog = by("key"), form = dialog.querySelector("form");
  if (refused) by("key-why").textContent = "The server does not accept this key. Is a letter missing?";
  dialog.addEventListener("cancel", event => event.preventDefault());
  form.onsubmit = event => {
    event.preventDefault();
    key.set(by("key-text").value.trim());
    by("key-text").value = "";
    by("forget").hidden = false;
    dialog.close();
    waiting = null;
    done();
  };
  dialog.showModal();
});

server.addEventListener("gone", () => by("gone").hidden = false);
server.addEventListener("back", () => {
  by("gone").hidden = true;
  words.ask(start);
});
words.ask(start);
