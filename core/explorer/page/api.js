// Requests to the server.

// Problem is an error instead of an answer. status is 0 if the server does not answer; after is the number of seconds to wait before
// asking again, null if that would not help.
export class Problem extends Error {
  constructor(status, message, after = null) {
    super(message);
    this.status = status;
    this.after = after;
  }
}

// server dispatches "gone" when it no longer answers and "back" when it does again.
export const server = new EventTarget();
let gone = false;

async function watch() {
  if (gone) return;
  gone = true;
  server.dispatchEvent(new Event("gone"));
  for (let ready = false; !ready;) {
    await new Promise(done => setTimeout(done, 2000));
    ready = await fetch("readyz", { cache: "no-store" }).then(answer => answer.ok, () => false);
  }
  gone = false;
  server.dispatchEvent(new Event("back"));
}

const place = "recint.key"; // in the session storage, which belongs to the tab
export const key = {
  get: () => sessionStorage.getItem(place),
  set: text => sessionStorage.setItem(place, text),
  forget: () => sessionStorage.removeItem(place),
  ask: async () => {}, // waits for another key; the page sets it
};

// ask sends a request and returns the answer. If a key is required, it waits for one.
async function ask(path, options, signal) {
  for (;;) {
    const shown = key.get(), headers = { ...options.headers };
    if (shown) headers.Authorization = "Bearer " + shown;
    let answer;
    try {
      answer = await fetch(path, { ...options, headers, signal, cache: "no-store" });
    } catch (problem) {
      throw broken(problem);
    }
    if (answer.ok) return answer;
    if (answer.status === 401) {
      if (shown === key.get()) await key.ask(shown !== null);
      signal?.throwIfAborted();
      continue;
    }
    const said = await answer.json().catch(() => ({}));
    throw refused(answer.status, said.error || `the server answered with status ${answer.status}`, answer.headers.get("Retry-After"));
  }
}

// refused is the problem of an answer that is an error. A request to a busy server may be repeated.
function refused(status, message, after) {
  return new Problem(status, message, status === 429 || status === 503 ? Number(after) || 1 : null);
}

// broken is the problem of a connection.
function broken(problem) {
  if (problem.name === "AbortError") return problem;
  watch();
  return new Problem(0, "the server does not answer");
}

export async function get(path, parameters, signal) {
  const answer = await ask(path + "?" + new URLSearchParams(parameters), {}, signal);
  return read(() => answer.json());
}

const posted = (body, kind) =>
  ({ method: "POST", headers: { "Content-Type": "application/json", Accept: kind }, body: JSON.stringify(body) });

export async function post(path, body, signal) {
  const answer = await ask(path, posted(body, "application/json"), signal);
  return read(() => answer.json());
}

// read returns the next data of a connection, or throws its problem.
async function read(next) {
  try {
    return await next();
  } catch (problem) {
    throw broken(problem);
  }
}

// stream asks for server-sent events. It calls said for each token and returns the answer at the end.
export async function stream(path, body, said, signal) {
  const answer = await ask(path, posted(body, "text/event-stream"), signal);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = ""; ;) {
    const { value, done } = await read(() => reader.read());
    if (done) throw new Problem(0, "the answer was cut off");
    const events = (text + value).split("\n\n");
    text = events.pop();
    for (const event of events) {
      const [, name, data] = /^event: (\w+)\ndata: (.*)$/.exec(event);
      const content = JSON.parse(data);
      if (name === "answer") return content;
      if (name === "error") throw refused(content.status, content.error);
      said(content);
    }
  }
}
