// Elements. Text goes in as text nodes, so that titles are never markup.

// make creates an element with attributes (null and false are omitted, functions are listeners) and children.
export function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

// draw does the same for a part of an SVG picture.
export function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter(child => child !== null));
  return element;
}

// keepFocus renders a part of the page again. If one of its buttons has the focus, the button that replaces it gets the focus.
export function keepFocus(part, render) {
  const at = [...part.querySelectorAll("button")].indexOf(document.activeElement);
  render();
  if (at < 0) return;
  const buttons = [...part.querySelectorAll("button")];
  buttons[Math.min(at, buttons.length - 1)]?.focus();
}

export const by = id => document.getElementById(id);

// probability formats a log-probability in nats as a probability.
export function probability(logProb) {
  const p = Math.exp(logProb);
  return p >= 0.001 ? p.toFixed(3) : p.toExponential(0);
}

// signed formats a number with two places and a proper minus.
export function signed(x) {
  const text = Math.abs(x).toFixed(2);
  return x < 0 && Number(text) !== 0 ? "−" + text : text;
}
