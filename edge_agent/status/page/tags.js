// The table of tags. Only the rows in sight are in the document, so that ten thousand tags cost what thirty do.
import { h, age, fill } from "/dom.js";

const SYMBOLS = { CEL: "°C", FAH: "°F", KEL: "K", KWH: "kWh", WTT: "W", KWT: "kW", GRM: "g", KGM: "kg", MTR: "m", MMT: "mm", BAR: "bar", PAL: "Pa", P1: "%", SEC: "s", AMP: "A", VLT: "V", HTZ: "Hz", LTR: "l", MTQ: "m³", "N.m": "N·m" };
const MARKS = { good: ["good", "●"], uncertain: ["warn", "▲"], bad: ["bad", "✕"], none: ["wait", "○"] };
const box = document.getElementById("tag-box"), body = document.getElementById("tag-rows"), table = document.getElementById("tag-table");
const search = document.getElementById("q"), device = document.getElementById("by-device"), quality = document.getElementById("by-quality");
const said = document.getElementById("tags-shown");
const all = new Map();
const rows = new Map();
let shown = [], counts = { total: 0 }, offset = 0, onWhy = () => {};

export const tags = all;
export const unit = (code) => (code === null ? "" : SYMBOLS[code] ?? code);

export function value(tag) {
  if (tag.text !== null) return `${tag.text} (${tag.value})`;
  if (tag.value === null || tag.value === undefined) return "–";
  if (typeof tag.value === "number" && !Number.isInteger(tag.value)) return String(Number(tag.value.toPrecision(7)));
  return typeof tag.value === "object" ? JSON.stringify(tag.value) : String(tag.value);
}

export function mark(quality) {
  const [kind, sign] = MARKS[quality];
  return h("span", { class: kind }, `${sign} ${quality === "none" ? "no value yet" : quality}`);
}

export function start(why) {
  onWhy = why;
  for (const [element, role] of [[table, "table"], [body, "rowgroup"], [table.tHead, "rowgroup"], [table.tHead.rows[0], "row"]]) element.setAttribute("role", role);
  for (const cell of table.tHead.rows[0].cells) cell.setAttribute("role", "columnheader");
  for (const input of [search, device, quality]) input.addEventListener("input", () => { box.scrollTop = 0; filter(); });
  box.addEventListener("scroll", draw, { passive: true });
  new ResizeObserver(draw).observe(box);
}

export function show(by) {
  search.value = by.q ?? ""; device.value = by.device ?? ""; quality.value = by.quality ?? "";
  box.scrollTop = 0; filter();
  document.getElementById("tags").scrollIntoView();
}

// Take in an answer of /api/tags; `whole`: nothing that was known before counts.
export function take(answer, whole, now) {
  if (whole) { all.clear(); rows.clear(); }
  const before = all.size;
  for (const tag of answer.tags) { tag.at = tag.time === null ? null : Date.parse(tag.time); all.set(tag.ref, tag); }
  counts = answer.counts; offset = now;
  if (whole || before !== all.size) {
    const names = [...new Set([...all.values()].map((tag) => tag.device))], chosen = device.value;
    fill(device, [h("option", { value: "" }, "all"), ...names.map((name) => h("option", { value: name }, name))]);
    device.value = names.includes(chosen) ? chosen : "";
  }
  if (whole || answer.tags.length || before !== all.size) filter(); else draw();
}

function filter() {
  const word = search.value.trim().toLowerCase(), of = device.value, like = quality.value;
  shown = [...all.values()].filter((tag) =>
    (!of || tag.device === of) && (!like || tag.quality === like || (like === "not_good" && tag.quality !== "good")) &&
    (!word || tag.ref.toLowerCase().includes(word) || (tag.detail ?? "").toLowerCase().includes(word)));
  document.getElementById("tags-n").textContent = `${counts.total.toLocaleString("en")}: ${[["good", counts.good], ["uncertain", counts.uncertain], ["bad", counts.bad], ["without value", counts.none]].filter(([, n]) => n).map(([word, n]) => `${n.toLocaleString("en")} ${word}`).join(", ") || "none"}`;
  const text = shown.length === all.size ? "" : `${shown.length.toLocaleString("en")} of ${all.size.toLocaleString("en")} shown`;
  if (said.textContent !== text) said.textContent = text;
  table.setAttribute("aria-rowcount", shown.length + 1);
  draw();
}

function draw() {
  const height = parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--row"));
  const first = Math.max(0, Math.min(shown.length, Math.floor(box.scrollTop / height) - 8)), count = Math.ceil(box.clientHeight / height) + 16;
  const part = shown.slice(first, first + count), wanted = new Set(part.map((tag) => tag.ref));
  for (const ref of rows.keys()) if (!wanted.has(ref)) rows.delete(ref);
  const made = part.map((tag, place) => row(tag, first + place + 2));
  const list = [space(first * height, "top"), ...made, space((shown.length - first - part.length) * height, "end")];
  if (body.children.length !== list.length || list.some((element, place) => body.children[place] !== element)) fill(body, list);
}

const spaces = {};
function space(pixels, name) {
  spaces[name] ??= h("tr", { class: "space", "aria-hidden": "true" }, h("td", { colspan: 5 }));
  const cell = spaces[name].firstChild;
  if (cell.style.height !== `${pixels}px`) cell.style.height = `${pixels}px`;
  return spaces[name];
}

function row(tag, index) {
  let made = rows.get(tag.ref);
  if (made === undefined) {
    const button = h("button", { type: "button", class: "name", title: tag.ref }, h("span", { class: "dev" }, `${tag.device}.`), tag.name);
    const cells = ["tag", "value num", "unit", "quality", "age num"].map((name) => h("td", { class: `c-${name}`, role: "cell" }));
    cells[0].append(button);
    made = { element: h("tr", { class: "tag", role: "row" }, ...cells), cells, tag: null };
    button.addEventListener("click", () => onWhy(all.get(tag.ref)));
    rows.set(tag.ref, made);
  }
  made.element.setAttribute("aria-rowindex", index);
  if (made.tag !== tag) {
    const [, shownValue, shownUnit, shownQuality] = made.cells, text = value(tag);
    shownValue.textContent = text; shownValue.title = text; shownUnit.textContent = unit(tag.unit); shownUnit.title = tag.unit ?? "";
    const reason = tag.detail ?? tag.code ?? "";
    fill(shownQuality, [mark(tag.quality), tag.quality === "good" || !reason ? "" : h("span", { class: "quiet", title: reason }, ` ${reason}`)]);
    made.tag = tag;
  }
  const old = tag.at === null ? "–" : `${age(Date.now() + offset - tag.at)} ago`;
  if (made.cells[4].textContent !== old) made.cells[4].textContent = old;
  return made.element;
}
