// Elements. Text goes in as text nodes, so that titles are never markup.

// make gives an element with attributes (those that are null or false are left out, functions are listeners) and children.
export function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

// draw does so for a part of a picture.
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

// keepFocus renders a part of the page anew. If one of its buttons has the focus, the one that comes into its place gets it.
export function keepFocus(part, render) {
  const at = [...part.querySelectorAll("button")].indexOf(document.activeElement);
  render();
  if (at < 0) return;
  const buttons = [...part.querySelectorAll("button")];
  buttons[Math.min(at, buttons.length - 1)]?.focus();
}

export const by = id => document.getElementById(id);

// probability shows that of a log-probability in nats.
export function probability(logProb) {
  const p = Math.exp(logProb);
  return p >= 0.001 ? p.toFixed(3) : p.toExponential(0);
}

// signed shows a number with two places and a proper minus.
export function signed(x) {
  const text = Math.abs(x).toFixed(2);
  return x < 0 && Number(text) !== 0 ? "−" + text : text;
}
