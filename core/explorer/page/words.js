// The state in words: tokens as they arrive, and the true answer.
import { make, probability, signed } from "./dom.js";
import { stream } from "./api.js";

const likeliest = 3; // titles shown below the words

// shade returns the CSS class of a token by its probability.
function shade(logProb) {
  const p = Math.exp(logProb);
  return p >= 0.9 ? "sure" : p >= 0.5 ? "unsure" : p >= 0.1 ? "doubtful" : "unlikely";
}

function token({ text, log_prob }) {
  const lines = text.split("\n").length - 1;
  return [make("span", { class: "token " + shade(log_prob), title: `probability ${probability(log_prob)}` },
    make("span", {}, text.replaceAll("\n", "↵") || "∅"), make("small", {}, signed(log_prob))),
    ...Array.from({ length: lines }, () => make("br"))];
}

// verdict shows the server's verdict on words.
export const verdict = (right, yes = "right", no = "wrong") =>
  make("span", { class: "verdict " + (right ? "right" : "wrong") }, right ? "✓ " + yes : "✗ " + no);

// interpret asks for a history's states in words and returns the answer.
export async function interpret(panel, run, items, signal) {
  const said = make("p", { class: "tokens", tabindex: "0", "aria-label": "The words, each token above its log-probability in nats" });
  const of = make("p", { class: "soft" }, `The model sees the states and names ${run.question}:`);
  let begun = false;
  const answer = await stream("v1/interpret",
    { run: run.name, history: items.map(item => item.id), titles: run.title ? likeliest : 0 }, next => {
      if (!begun) panel.show(of, said);
      begun = true;
      said.append(...token(next));
    }, signal);
  const ended = answer.ended ? null : make("p", { class: "warning" }, `The words were cut after ${answer.tokens.length} tokens.`);
  const unlike = answer.unlike ?
    make("p", { class: "warning" }, "These states are unlike those that the adapter was trained on, so the words mean little.") : null;
  panel.show(of, said, legend(), ...[ended, unlike, ...(run.title ? title : lines)(panel, answer)].filter(x => x));
  return answer;
}

function legend() {
  return make("p", { class: "legend soft" }, "Numbers are log-probabilities in nats; shades are probabilities: ",
    ...[["sure", "≥ 0.9"], ["unsure", "≥ 0.5"], ["doubtful", "≥ 0.1"], ["unlikely", "less"]].flatMap(([name, text]) =>
      [make("span", { class: "token " + name }, text), " "]));
}

// title compares the answer with the true title.
function title(panel, answer) {
  const truth = answer.truth[0].title, words = answer.text || "nothing", sure = probability(answer.log_prob);
  panel.status.textContent = `Read from the states: ${words}, probability ${sure}; actual: ${truth}.`;
  return [
    make("dl", {},
      make("dt", {}, "read from the states"), make("dd", {}, make("b", {}, words), ` (${sure}) `, verdict(answer.truth[0].named)),
      make("dt", {}, "actual"), make("dd", {}, truth)),
    make("h3", {}, "The likeliest titles of the catalogue"),
    make("ol", { class: "titles" }, ...(answer.titles ?? []).map(title => {
      const text = title.lines.map(line => line.text).join(" / ");
      return make("li", {}, text, make("span", { class: "number" }, probability(title.log_prob)));
    })),
  ];
}

// lines compares the lines of the answer with the true ones.
function lines(panel, answer) {
  const truth = answer.truth?.map(({ title, named }) => ({ text: title, named })) ?? answer.claims ?? [];
  if (truth.length === 0) return [make("p", { class: "soft" }, "The true answer is unknown.")];
  const left = answer.lines.filter(line => !line.right).map(line => line.text);
  const summary = `${truth.filter(line => line.named).length} of ${truth.length} are named`;
  panel.status.textContent = summary + ".";
  return [
    make("h3", {}, summary),
    make("ul", { class: "titles" }, ...truth.map(line => make("li", {}, line.text, verdict(line.named, "named", "not named")))),
    left.length > 0 ? make("p", { class: "soft" }, "Wrong lines: ", left.join("; ")) : null,
  ];
}
