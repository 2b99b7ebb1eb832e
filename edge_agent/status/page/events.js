// What leaves, as it leaves: server-sent events of /api/live. The newest 200 are kept.
import { h, number } from "/dom.js";

const list = document.getElementById("event-list"), search = document.getElementById("event-q"), telemetry = document.getElementById("telemetry"), pause = document.getElementById("pause");
const KEPT = 200, NOISE = new Set(["epoch", "seq", "cfg", "count_id", "since"]);
let source = null, kept = [], waiting = [], seen = 0, missed = 0, paused = false, planned = false;

export function stop() { source?.close(); source = null; }

export function start() {
  stop();
  source = new EventSource("/api/live");
  source.addEventListener("departure", (event) => { waiting.push(JSON.parse(event.data)); seen += 1; plan(); });
  source.addEventListener("missed", (event) => { missed += JSON.parse(event.data).missed; plan(); });
}

function plan() {
  if (waiting.length > 4 * KEPT) waiting = waiting.slice(-2 * KEPT);
  if (planned) return;
  planned = true;
  setTimeout(() => { planned = false; if (!paused) draw(); }, 200);
}

function draw() {
  for (const left of waiting) kept.unshift(made(left));
  waiting = [];
  const telemetries = kept.filter((each) => each.kind === "T").slice(0, KEPT), others = kept.filter((each) => each.kind !== "T").slice(0, KEPT);
  kept = kept.filter((each) => (each.kind === "T" ? telemetries : others).includes(each));
  show();
}

function show() {
  const word = search.value.trim().toLowerCase();
  const wanted = kept.filter((each) => (telemetry.checked || each.kind !== "T") && (!word || each.text.includes(word))).slice(0, KEPT).map((each) => each.element);
  // Only what is new is put in: focus and what was opened stay.
  const stay = new Set(wanted);
  for (const element of [...list.children]) if (!stay.has(element)) element.remove();
  wanted.forEach((element, place) => { if (list.children[place] !== element) list.insertBefore(element, list.children[place] ?? null); });
  if (!list.children.length) list.append(h("li", { class: "quiet" }, kept.length ? "Nothing that fits the search." : "Nothing has left since this page was opened."));
  document.getElementById("events-n").textContent = `${number(seen)} since this page was opened${missed ? `, ${number(missed)} more not shown` : ""}`;
}

function made(left) {
  const event = left.event, type = String(event.type ?? "").replace(/^edgeagent\./, "") || left.stream, when = new Date(event.time ?? left.acknowledged);
  const data = event.data ?? event, what = summary(data);
  const body = h("details", {}, h("summary", {}, h("time", { class: "mono", datetime: event.time ?? left.acknowledged }, when.toLocaleTimeString("en-GB")), h("strong", {}, type), h("span", { class: "what" }, `${left.stream} ${what}`), h("span", { class: "quiet num" }, `${left.resent ? "again, " : ""}${left.wait_ms.toFixed(1)} ms`)));
  const element = h("li", {}, body);
  body.addEventListener("toggle", () => { if (body.open && !body.querySelector("pre")) body.append(h("pre", { class: "mono" }, JSON.stringify(event, null, 2))); });
  return { element, kind: left.kind, text: `${type} ${left.stream} ${JSON.stringify(data)}`.toLowerCase() };
}

function summary(data) {
  if (typeof data !== "object" || data === null) return String(data ?? "");
  return Object.entries(data).filter(([name, value]) => value !== null && typeof value !== "object" && !NOISE.has(name)).slice(0, 6).map(([name, value]) => `${name}=${value}`).join(" ").slice(0, 160);
}

search.addEventListener("input", show);
telemetry.addEventListener("change", show);
show();
pause.addEventListener("click", () => { paused = !paused; pause.setAttribute("aria-pressed", String(paused)); pause.textContent = paused ? "Go on" : "Pause"; if (!paused) draw(); });
