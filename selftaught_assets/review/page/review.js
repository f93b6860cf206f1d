// The review page. Text of models only ever becomes a text node. What is not stored yet lies in localStorage.

const find = (id) => document.getElementById(id);
const KEYS = { A: "a", B: "b", good: "g", bad: "b", unsure: "u" };
const RETRY_MILLISECONDS = 2000;

// Invisible characters, and those that turn the direction of text. Joiners inside emoji and Arabic words stay.
const CONTROL = new RegExp(
  "[\\u0000-\\u0008\\u000b\\u000c\\u000e-\\u001f\\u007f-\\u009f\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180e" +
    "\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufeff\\uffa0\\ufff9-\\ufffb\\u{e0000}-\\u{e007f}]" +
    "|\\r(?!\\n)|(?<!\\p{Script=Arabic})\\u200c|(?<![\\p{Extended_Pictographic}\\p{Emoji_Modifier}\\ufe0f])\\u200d",
  "gu",
);

let review; // What the server said.
let current = 0;
const before = []; // What each answer given here has replaced, for undo.
let sending = false;

// What must survive a reload. Another tab may write it as well, so it is read again before each change.
const kept = {
  read(name, otherwise) {
    const stored = localStorage.getItem(`${review.key}.${name}`);
    return stored === null ? otherwise : JSON.parse(stored);
  },
  write(name, value) {
    localStorage.setItem(`${review.key}.${name}`, JSON.stringify(value));
  },
};

const row = () => review.rows[current];
const isAnswered = (shown) => shown.answer !== null;

function noteOf(shown) {
  return kept.read("notes", {})[shown.id] ?? shown.note;
}

function visible(text) {
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(CONTROL)) {
    nodes.push(text.slice(end, match.index));
    const mark = document.createElement("span");
    mark.className = "control";
    mark.textContent = `U+${match[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
    nodes.push(mark);
    end = match.index + match[0].length;
  }
  return [...nodes, text.slice(end)];
}

function section({ title, text }) {
  const made = document.createElement("section");
  const heading = document.createElement("h2");
  heading.textContent = title;
  const body = document.createElement("pre");
  body.dir = "auto";
  if (text) body.append(...visible(text));
  else {
    body.textContent = "(empty)";
    body.className = "empty";
  }
  const letter = title.startsWith("Response ") ? title.slice(-1) : null;
  made.classList.toggle("wide", letter === null);
  made.classList.toggle("answered", letter !== null && row().answer === letter);
  made.append(heading, body);
  return made;
}

function show() {
  find("row").replaceChildren(...row().texts.map(section));
  for (const button of find("answers").children) {
    button.setAttribute("aria-pressed", String(button.dataset.answer === row().answer));
  }
  if (document.activeElement !== find("note")) find("note").value = noteOf(row());
  const answered = review.rows.filter(isAnswered).length;
  find("place").textContent = `row ${current + 1} of ${review.rows.length} · ${answered} answered`;
  find("progress").value = answered;
  find("previous").disabled = current === 0;
  find("next").disabled = current === review.rows.length - 1;
  find("undo").disabled = before.length === 0;
  find("note").placeholder = isAnswered(row()) ? "optional" : "optional, stored with your answer";
  const done = answered === review.rows.length;
  find("question").textContent = done ? "All rows are answered. Ctrl-C in the terminal shows the agreement." : review.question;
  showStored();
}

function showStored(refusal = "") {
  const waiting = kept.read("pending", []).length;
  find("stored").textContent = refusal || (waiting ? `${waiting} not stored yet: waiting for the server` : "all stored");
  find("stored").className = waiting ? "waiting" : "";
}

function move(to) {
  storeNote();
  current = Math.min(Math.max(to, 0), review.rows.length - 1);
  find("note").blur();
  show();
  scrollTo(0, 0);
}

function nextOpen() {
  const order = [...review.rows.keys()].map((step) => (current + 1 + step) % review.rows.length);
  return order.find((index) => !isAnswered(review.rows[index])) ?? current;
}

function store(shown, answer) {
  shown.answer = answer;
  shown.note = noteOf(shown);
  const waiting = { token: crypto.randomUUID(), id: shown.id, answer, note: shown.note };
  kept.write("pending", [...kept.read("pending", []), waiting]);
  const { [shown.id]: _, ...others } = kept.read("notes", {});
  kept.write("notes", others);
  showStored();
  send();
}

function give(answer) {
  before.push({ id: row().id, answer: row().answer });
  store(row(), answer);
  move(nextOpen());
}

function undo() {
  const replaced = before.pop();
  if (replaced === undefined) return;
  storeNote();
  current = review.rows.findIndex((shown) => shown.id === replaced.id);
  store(row(), replaced.answer);
  show();
}

// A note of an answered row is stored by itself; one of an open row waits for the answer.
function storeNote() {
  const shown = row();
  if (isAnswered(shown) && noteOf(shown) !== shown.note) store(shown, shown.answer);
}

async function send() {
  if (sending) return;
  sending = true;
  let refusal = "";
  while (!refusal && kept.read("pending", []).length) {
    const [{ token, id, answer, note }] = kept.read("pending", []);
    try {
      const response = await fetch("api/answers", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ review: review.key, id, answer, note }),
      });
      if (response.ok) kept.write("pending", kept.read("pending", []).filter((waiting) => waiting.token !== token));
      else refusal = `not stored: ${(await response.json()).detail}`;
    } catch {
      break; // The server is away.
    }
    showStored(refusal);
  }
  sending = false;
  showStored(refusal);
  if (kept.read("pending", []).length) setTimeout(send, RETRY_MILLISECONDS);
}

function answerButton(answer) {
  const button = document.createElement("button");
  const key = document.createElement("kbd");
  key.textContent = KEYS[answer].toUpperCase();
  const long = document.createElement("span");
  button.dataset.answer = answer;
  long.className = "long";
  long.textContent = " is better";
  button.append(key, ` ${answer}`);
  if (answer.length === 1) button.append(long);
  button.addEventListener("click", () => give(answer));
  return button;
}

function helpEntry(answer) {
  const key = document.createElement("kbd");
  key.textContent = KEYS[answer].toUpperCase();
  const term = document.createElement("dt");
  const meaning = document.createElement("dd");
  term.append(key);
  meaning.textContent = answer.length === 1 ? `response ${answer} is better` : answer;
  return [term, meaning];
}

const ACTIONS = {
  arrowleft: () => move(current - 1),
  arrowright: () => move(current + 1),
  z: undo,
  n: () => find("note").focus(),
  "?": () => find("help").showModal(),
};

function press(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || find("help").open) return;
  if (event.target === find("note")) {
    if (event.key === "Escape") find("note").blur();
    return;
  }
  const key = event.key.toLowerCase();
  const answer = review.answers.find((one) => KEYS[one] === key);
  if (answer === undefined && !(key in ACTIONS)) return;
  event.preventDefault();
  if (answer === undefined) ACTIONS[key]();
  else give(answer);
}

function listen() {
  document.addEventListener("keydown", press);
  find("previous").addEventListener("click", ACTIONS.arrowleft);
  find("next").addEventListener("click", ACTIONS.arrowright);
  find("undo").addEventListener("click", undo);
  find("help-button").addEventListener("click", ACTIONS["?"]);
  find("note").addEventListener("input", () => {
    kept.write("notes", { ...kept.read("notes", {}), [row().id]: find("note").value.toWellFormed() });
  });
  find("note").addEventListener("change", storeNote);
  addEventListener("online", send);
}

async function start() {
  const response = await fetch("api/review");
  if (!response.ok) {
    find("loading").textContent = (await response.json()).detail;
    return;
  }
  review = await response.json();
  for (const { id, answer, note } of kept.read("pending", [])) {
    Object.assign(review.rows.find((shown) => shown.id === id), { answer, note });
  }
  const name = `Review of ${review.kind}`;
  document.title = `${name} · ${review.recipe} · ${review.iteration}`;
  find("title").textContent = name;
  find("about").textContent = `${review.recipe} · ${review.iteration} · ${review.reviewer}`;
  find("progress").max = review.rows.length;
  find("answers").replaceChildren(...review.answers.map(answerButton));
  find("keys").prepend(...review.answers.flatMap(helpEntry));
  document.querySelector("footer").hidden = false;
  current = review.rows.length - 1;
  current = nextOpen() === current && isAnswered(row()) ? 0 : nextOpen();
  listen();
  show();
  send();
}

start();
