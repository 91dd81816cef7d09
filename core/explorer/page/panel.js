// A panel is a section of the page that shows an answer, or says why there is none.
import { keepFocus, make } from "./dom.js";

export class Panel {
  constructor(section) {
    this.body = section.querySelector(".body");
    this.status = section.querySelector("[role=status]"); // for screen readers
  }

  // show leaves the focus where it was.
  show(...children) {
    this.body.classList.remove("old");
    keepFocus(this.body, () => this.body.replaceChildren(...children));
  }

  // rest shows what to do, and abandons the request in progress.
  rest(text) {
    this.stop();
    this.show(make("p", { class: "empty" }, text));
    this.status.textContent = "";
  }

  stop() {
    this.asking?.abort();
    this.body.setAttribute("aria-busy", "false");
    this.body.classList.remove("old");
  }

  // ask does work that sends requests, and abandons earlier work. If the server is busy, the work restarts after
  // the time that the server names.
  async ask(work) {
    this.stop();
    const asking = this.asking = new AbortController();
    this.body.setAttribute("aria-busy", "true");
    this.body.classList.add("old"); // until something else replaces it
    for (let again = true; again;) {
      again = false;
      try {
        await work(asking.signal);
      } catch (problem) {
        if (asking.signal.aborted) return;
        if (problem.status === undefined) console.error(problem);
        again = problem.after ? await this.wait(problem, asking.signal) : this.fail(problem, work);
      }
    }
    if (this.asking === asking) this.stop();
  }

  // wait counts seconds down, and returns whether to continue.
  async wait(problem, signal) {
    this.status.textContent = "The server is busy.";
    for (let seconds = problem.after; seconds > 0; seconds--) {
      this.show(make("p", { class: "warning" }, `Not yet: ${problem.message}. This page asks again in ${seconds} s.`));
      await new Promise(done => setTimeout(done, 1000));
      if (signal.aborted) return false;
    }
    return true;
  }

  fail(problem, work) {
    const message = problem.status === undefined ? "an error in this page; see the browser's console" : problem.message;
    this.show(make("p", { class: "warning" }, `No answer: ${message}.`), make("button", { click: () => this.ask(work) }, "Ask again"));
    this.status.textContent = `No answer: ${message}.`;
    return false;
  }
}
