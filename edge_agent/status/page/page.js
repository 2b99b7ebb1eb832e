// The status page: asks the agent that served it, and nobody else, and shows what it says.
import * as tagTable from "/tags.js";
import * as events from "/events.js";
import { h, fill, age, number, clock, many, size } from "/dom.js";

const at = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

const drawn = new Map();
// Draw a part again only when what it shows has changed: focus and what was opened stay.
function part(id, shows, make) {
  const key = JSON.stringify(shows);
  if (drawn.get(id) !== key) { drawn.set(id, key); fill(at(id), make()); }
}

// -- what the agent says ---------------------------------------------------------------------------------------------
let status = null, revision = 0, offset = 0, moments = [], codes = new Map(), silentSince = null, timers = [], asked = 0;

async function ask(path) {
  const answer = await fetch(path, { credentials: "same-origin", cache: "no-store", signal: AbortSignal.timeout(8000) });
  if (answer.status === 401) { login(); throw new Error("token"); }
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

async function askStatus() {
  status = await ask("/api/status");
  const now = Date.parse(status.time);
  offset = now - Date.now();
  const last = moments.at(-1);
  if (last === undefined || now - Date.parse(last.time) >= 5000 || now < Date.parse(last.time)) moments.push({ time: status.time, sent: status.delivery.sent, waiting: status.buffer.waiting_events + status.buffer.waiting_telemetry, bytes: status.buffer.bytes });
  moments = moments.slice(-720);
}

async function askTags() {
  const answer = await ask(`/api/tags?since=${revision}`);
  revision = answer.revision;
  tagTable.take(answer, answer.whole, Date.parse(answer.time) - Date.now());
}

async function round() {
  if (document.hidden) return;
  try {
    asked += 1;
    await Promise.all([asked % 2 || status === null ? askStatus() : null, askTags()]);
    silentSince = null;
    at("away").hidden = true;
    draw();
  } catch (error) {
    if (error.message === "token") return;
    silentSince ??= new Date();
    at("away").textContent = `The agent has not answered since ${clock(silentSince)}. What stands below is old. This page goes on by itself.`;
    at("away").hidden = false;
    at("health").className = "badge bad"; at("health").textContent = "✕ no answer"; drawn.delete("head");
  }
}

// -- parts -----------------------------------------------------------------------------------------------------------
function draw() {
  if (status === null) return;
  at("content").hidden = false;
  head(); why(); devices(); delivery();
}

function head() {
  const bad = status.health === "critical" || status.faults.some((each) => each.level === "critical"), fine = status.health === "ok" && status.faults.length === 0;
  const [kind, text] = bad ? ["bad", "✕ critical"] : fine ? ["good", "● ok"] : ["warn", status.health === "ok" ? "▲ wants a person" : `▲ ${status.health}`];
  const key = `${kind}${text}`;
  if (drawn.get("head") !== key) { drawn.set("head", key); at("health").className = `badge ${kind}`; at("health").textContent = text; }
  at("agent").textContent = status.agent;
  at("clock").textContent = new Date(status.time).toLocaleString("en-GB");
  const title = `${fine ? "" : "⚠ "}${status.agent} – edge-agent`;
  if (document.title !== title) document.title = title;
  at("foot").textContent = `edge-agent ${status.version}, since ${new Date(status.started).toLocaleString("en-GB")}, process ${status.process}, configuration ${status.cfg}. Times are this browser's; the page only looks, nothing can be changed here.`;
}

function groups() {
  const found = new Map();
  const add = (code, level, about, text, remedy, filter) => {
    const key = `${code} ${level}`;
    if (!found.has(key)) found.set(key, { code, level, remedy, cases: [] });
    found.get(key).cases.push({ about, text, filter });
  };
  for (const each of status.faults) add(each.code, each.level, each.about, each.text, each.remedy, filterOf(each.about));
  const single = new Map();
  for (const tag of tagTable.tags.values()) if (tag.code === "tag_bad" || tag.code === "tag_uncertain") {
    const key = JSON.stringify([tag.device, tag.code, tag.detail]);
    if (!single.has(key)) single.set(key, []);
    single.get(key).push(tag);
  }
  for (const tagged of single.values()) {
    const [first] = tagged, about = tagged.length === 1 ? first.ref : `${many(tagged.length, "tag")} of ${first.device}`;
    add(first.code, "warning", about, first.detail ?? "", "", tagged.length === 1 ? { q: first.ref } : { device: first.device, q: first.detail ?? "", quality: "not_good" });
  }
  return [...found.values()].sort((a, b) => (a.level === "critical" ? 0 : 1) - (b.level === "critical" ? 0 : 1));
}

function filterOf(about) {
  const [word, name] = about.split(" ");
  if (word === "device" && status.devices[name]) return { device: name };
  return tagTable.tags.has(about) ? { q: about } : null;
}

const SHOWN = 12;
function why() {
  const found = groups(), cautions = status.warnings.filter((text) => !status.faults.some((each) => each.text && text.includes(each.text)));
  const count = found.reduce((sum, each) => sum + each.cases.length, 0);
  at("why-n").textContent = count ? number(count) : "";
  part("faults", [found, cautions, codes.size], () => [
    ...(found.length ? found.map(faultCard) : [h("p", { class: "card fine" }, h("strong", { class: "good" }, "● Nothing. "), "Every device is read, and the broker takes the events.")]),
    cautions.length ? h("details", { class: "card" }, h("summary", {}, `Allowed by the configuration, and a risk (${cautions.length})`), ...cautions.map((text) => h("p", { class: "hint" }, text))) : "",
  ]);
}

function faultCard(group) {
  const critical = group.level === "critical";
  return h("article", { class: `fault ${group.level}`, "data-code": group.code },
    h("div", { class: "head" }, h("h3", {}, h("span", { class: critical ? "bad" : "warn" }, `${critical ? "✕ critical" : "▲ warning"} `), h("code", {}, group.code)), h("a", { href: `/codes#${group.code}` }, "explained")),
    ...group.cases.slice(0, SHOWN).map(caseLine),
    group.cases.length > SHOWN ? h("p", { class: "hint" }, `and ${number(group.cases.length - SHOWN)} more`) : "",
    explained(group.code, group.remedy));
}

function caseLine(one) {
  const about = one.filter ? h("button", { type: "button", class: "name" }, h("strong", {}, one.about)) : h("strong", {}, one.about);
  if (one.filter) about.addEventListener("click", () => tagTable.show(one.filter));
  return h("p", {}, about, one.text ? `: ${one.text}` : "");
}

function explained(code, remedy = "") {
  const entry = codes.get(code);
  const lines = entry ? [["Cause", entry.cause], ["Check", entry.check], ["Remedy", entry.remedy]] : remedy ? [["Remedy", remedy]] : [];
  return h("dl", {}, ...lines.flatMap(([word, text]) => [h("dt", {}, word), h("dd", {}, text)]));
}

function link(up) { return up ? h("span", { class: "badge good" }, "● up") : up === null ? h("span", { class: "badge wait" }, "○ not yet") : h("span", { class: "badge bad" }, "✕ down"); }

function devices() {
  const list = Object.entries(status.devices), now = Date.parse(status.time);
  const per = new Map(list.map(([name]) => [name, { all: 0, off: 0 }]));
  for (const tag of tagTable.tags.values()) { const one = per.get(tag.device); if (one) { one.all += 1; if (tag.quality !== "good") one.off += 1; } }
  const ages = list.map(([, each]) => (each.last_good === null ? "never" : each.up && now - Date.parse(each.last_good) < 10000 ? "just now" : `${age(now - Date.parse(each.last_good))} ago`));
  const readers = new Map(status.workers.flatMap((one) => one.devices.map((name) => [name, `worker ${one.name}${one.up ? "" : " is away"}${one.restarts ? `, restarts: ${number(one.restarts)}` : ""}`])));
  part("device-list", [list.map(([name, each]) => [name, each.driver, each.endpoint, each.up, each.error, each.fault]), ages, [...per], [...readers]], () => list.length ? list.map(([name, each], place) => {
    const { all, off } = per.get(name), show = h("button", { type: "button", class: "name" }, h("strong", {}, name));
    show.addEventListener("click", () => tagTable.show({ device: name }));
    return h("article", { class: "card", "data-device": name },
      h("div", { class: "head" }, h("h3", {}, show), link(each.up)),
      h("p", { class: "quiet" }, `${each.driver}, `, h("span", { class: "mono" }, each.endpoint), readers.has(name) ? `, ${readers.get(name)}` : ""),
      h("p", {}, `${many(all, "tag")}, `, off ? h("span", { class: "warn" }, `${number(off)} not good`) : "all good", `; last good value ${ages[place]}`),
      each.error ? h("p", { class: "bad" }, each.error) : "");
  }) : [h("p", { class: "card" }, "No device is configured.")]);
  part("unit-list", status.units, () => Object.entries(status.units).map(([name, state]) => h("span", { class: `badge ${state === "ok" ? "good" : "bad"}`, title: state }, `${state === "ok" ? "●" : "✕"} unit ${name}${state === "ok" ? "" : `: ${state}`}`)));
}

function delivery() {
  const { delivery: sent, buffer } = status, waiting = buffer.waiting_events + buffer.waiting_telemetry, now = Date.parse(status.time);
  const brokers = status.links.filter((each) => each.kind !== "device");
  const then = moments.find((each) => now - Date.parse(each.time) <= 60000) ?? moments.at(-1), span = (now - Date.parse(then?.time ?? status.time)) / 60000;
  const rate = span > 0.02 ? (sent.sent - then.sent) / span : null;
  const figures = [
    ...brokers.map((each) => [each.name, each.up ? "● up" : "✕ down", each.up ? "good" : "bad", each.error ?? ""]),
    ["records a minute", rate === null ? "–" : number(Math.round(rate))], ["sent since the start", number(sent.sent)],
    ["waiting", number(waiting), waiting > 1000 ? "warn" : ""], ["oldest unsent", buffer.oldest === null ? "–" : age(now - Date.parse(buffer.oldest))],
    ["ms to acknowledge (p50 / p95)", sent.wait_p50 === null ? "–" : `${sent.wait_p50.toFixed(1)} / ${sent.wait_p95.toFixed(1)}`],
    ["buffer on disk", size(buffer.bytes), buffer.healthy ? "" : "bad"], ["refused, dead letters", `${number(sent.rejected)}, ${number(buffer.dead_letters)}`, sent.rejected ? "warn" : ""],
  ];
  part("figures", figures, () => figures.map(([word, text, kind = "", title = ""]) => h("div", { class: `figure${word.includes("//") ? " wide" : ""}`, title }, h("b", { class: kind }, text), h("span", {}, word))));
  spark();
}

function spark() {
  const top = Math.max(1, ...moments.map((each) => each.waiting)), first = Date.parse(moments[0]?.time ?? 0), span = Math.max(1, Date.parse(moments.at(-1)?.time ?? 0) - first);
  const points = moments.map((each) => `${((Date.parse(each.time) - first) / span * 600).toFixed(1)},${(86 - each.waiting / top * 80).toFixed(1)}`);
  const path = (d, kind) => { const element = document.createElementNS(SVG, "path"); element.setAttribute("d", d); element.setAttribute("class", kind); return element; };
  at("spark").replaceChildren(...(points.length > 1 ? [path(`M0,90 L${points.join(" L")} L600,90 Z`, "area"), path(`M${points.join(" L")}`, "line")] : []));
  const says = `at most ${number(top === 1 ? Math.max(0, ...moments.map((each) => each.waiting)) : top)} in the last ${age(span)}, now ${number(moments.at(-1)?.waiting ?? 0)}`;
  if (at("spark-says").textContent !== says) at("spark-says").textContent = says;
}

// -- one tag, in full --------------------------------------------------------------------------------------------------
function whyTag(tag) {
  at("dialog-h").textContent = tag.ref;
  const lines = [["Value", `${tagTable.value(tag)} ${tagTable.unit(tag.unit)}`.trim()], ["Quality", tagTable.mark(tag.quality)], ["Reason", tag.detail], ["Time", tag.time === null ? null : `${new Date(tag.time).toLocaleString("en-GB")} (${tag.time}), the clock of the ${{ source: "device", server: "device's server", agent: "agent" }[tag.basis]}`], ["Device", tag.device]];
  fill(at("dialog-body"), [
    h("dl", {}, ...lines.filter(([, text]) => text).flatMap(([word, text]) => [h("dt", {}, word), h("dd", {}, text)])),
    ...(tag.code ? [h("h3", {}, "Why? ", h("code", {}, tag.code), " ", h("a", { href: `/codes#${tag.code}` }, "explained")), explained(tag.code)] : []),
  ]);
  at("dialog").showModal();
}

// -- begin, and whoever has to show a token ------------------------------------------------------------------------------
function login() {
  stop();
  at("logout").hidden = true;
  at("login").hidden = false; at("content").hidden = true; at("health").className = "badge wait"; at("health").textContent = "locked"; drawn.clear();
  at("token").focus();
}

async function open(event) {
  event.preventDefault();
  const answer = await fetch("/api/login", { headers: { Authorization: `Bearer ${at("token").value.trim()}` }, credentials: "same-origin", cache: "no-store" }).catch(() => null);
  at("refused").textContent = answer?.ok ? "" : answer?.status === 401 ? "This is not the token." : answer?.status === 429 ? "Too many wrong tokens; wait some seconds." : "The agent does not answer.";
  if (!answer?.ok) return;
  at("token").value = ""; at("login").hidden = true;
  localStorage.setItem("token-shown", "yes");
  begin();
}

function stop() { timers.forEach(clearInterval); timers = []; events.stop(); }

async function begin() {
  stop();
  revision = 0;
  await round();
  if (!at("login").hidden) return;
  at("logout").hidden = localStorage.getItem("token-shown") === null; // the cookie itself is for no script
  timers = [setInterval(round, 1000)];
  events.start();
  try {
    codes = new Map((await ask("/api/codes")).map((each) => [each.code, each]));
    moments = [...(await ask("/api/history")).moments, ...moments].sort((a, b) => (a.time < b.time ? -1 : 1));
    draw();
  } catch { setTimeout(() => codes.size || begin(), 3000); }
}

tagTable.start(whyTag);
at("login").addEventListener("submit", open);
at("logout").addEventListener("click", async () => { await fetch("/api/logout").catch(() => null); localStorage.removeItem("token-shown"); login(); });
at("dialog-close").addEventListener("click", () => at("dialog").close());
at("dialog").addEventListener("click", (event) => { if (event.target === at("dialog")) at("dialog").close(); });
document.addEventListener("visibilitychange", round);
begin();
