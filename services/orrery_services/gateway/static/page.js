// The page of one node. It asks once a second, keeps two minutes, and writes text only, never markup:
// a symbol is whatever somebody sent.
"use strict";

const SECOND_MS = 1000, KEPT = 120, COLOURS = ["--one", "--two", "--three", "--good"];
const LINES = ["midprice", "microprice", "price_ewma", "vwap"]; // drawn together when the chain has them
const history = {}; // service -> rows a second
let before = null, chosen = null;

const byId = (id) => document.getElementById(id);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);

function make(tag, attributes = {}, ...children) {
  const space = ["svg", "circle", "polyline", "line"].includes(tag) ? "http://www.w3.org/2000/svg" : null;
  const node = space ? document.createElementNS(space, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function figure(value) {
  if (typeof value !== "number" || !Number.isFinite(value)) return "";
  const size = Math.abs(value);
  if (size !== 0 && size < 0.001) return value.toExponential(2);
  return value.toLocaleString("en", { maximumFractionDigits: size < 1 ? 5 : size < 1000 ? 3 : 2 });
}

async function get(path) {
  const told = await fetch(path, { signal: AbortSignal.timeout(5000) });
  if (!told.ok) throw new Error((await told.json()).error);
  return told.json();
}

function sky(state) {
  const others = state.peers, nodes = [state.node, ...others];
  const marks = [make("circle", { r: 44, fill: "none", stroke: colour("--line") }),
    make("circle", { r: 9, fill: colour("--wait") })];
  nodes.forEach((name, i) => {
    const angle = (i / nodes.length) * 2 * Math.PI - Math.PI / 2 + Date.now() / 40000;
    const here = i === 0, good = state.state === "LEVEL";
    marks.push(make("circle", { cx: 44 * Math.cos(angle), cy: 44 * Math.sin(angle), r: here ? 8 : 6,
      fill: colour(here ? "--one" : good ? "--good" : "--wait") }));
  });
  byId("sky").replaceChildren(...marks);
}

function spark(values) {
  const top = Math.max(1, ...values), points = values.map((v, i) => `${(i / (KEPT - 1)) * 200},${33 - (v / top) * 31}`);
  const line = make("polyline", { points: points.join(" "), fill: "none", stroke: colour("--one"), "stroke-width": 1.5 });
  return make("svg", { viewBox: "0 0 200 34", preserveAspectRatio: "none" }, line);
}

function meanMs(now, old) {
  const count = now.count - (old ? old.count : 0), seconds = now.seconds - (old ? old.seconds : 0);
  return count > 0 ? (1000 * seconds) / count : null;
}

function hop(told, old, seconds) {
  if (told.away) {
    const title = make("h3", {}, make("b", {}, told.service), "away");
    return make("article", { "data-away": "true" }, title, make("p", {}, told.away));
  }
  const rate = old && !old.away && seconds > 0 ? Math.max(0, (told.rows - old.rows) / seconds) : 0;
  const kept = (history[told.service] = [...(history[told.service] || []), rate].slice(-KEPT));
  const list = make("dl");
  const add = (name, value) => list.append(make("dt", {}, name), make("dd", {}, value));
  add("waiting", `${figure(told.lag_rows)}`);
  for (const [stage, now] of Object.entries(told.stages)) {
    const ms = meanMs(now, old && old.stages && old.stages[stage]);
    if (ms !== null) add(stage, `${figure(ms)} ms`);
  }
  if (told.refused) add("refused", figure(told.refused));
  if (told.ignored) add("ignored", figure(told.ignored));
  const title = make("h3", {}, make("b", {}, told.service), told.rows ? `${figure(Math.round(rate))} rows/s` : "");
  return make("article", { "data-behind": String(told.lag_rows > 1000) }, title, spark(kept), list);
}

function road(state) {
  const seconds = before ? (state.at_ns - before.at_ns) / 1e9 : 0;
  const old = Object.fromEntries((before ? before.hops : []).map((one) => [one.service, one]));
  byId("road").replaceChildren(...state.hops.map((one) => hop(one, old[one.service], seconds)));
}

function market(all) {
  const rows = all.filter((row) => Object.keys(row.outputs).length); // a market quote has none
  const names = [...new Set(rows.flatMap((row) => Object.keys(row.outputs)))];
  byId("names").replaceChildren(make("tr", {}, make("th", {}, "symbol"), ...names.map((n) => make("th", {}, n))));
  if (!rows.some((row) => row.symbol === chosen)) chosen = rows.length ? rows[0].symbol : null;
  byId("market").replaceChildren(...rows.map((row) => {
    const cells = names.map((name) => make("td", {}, figure(row.outputs[name])));
    const line = make("tr", { "aria-selected": String(row.symbol === chosen) }, make("td", {}, row.symbol), ...cells);
    line.addEventListener("click", () => { chosen = row.symbol; look(); });
    return line;
  }));
}

function chart(rows) {
  const canvas = byId("chart"), pen = canvas.getContext("2d"), { width, height } = canvas;
  pen.clearRect(0, 0, width, height);
  const drawn = LINES.filter((name) => rows.some((row) => name in row.outputs));
  const values = rows.flatMap((row) => drawn.filter((n) => n in row.outputs).map((n) => row.outputs[n]));
  byId("chosen").textContent = chosen ? `${chosen}, the last ${rows.length} rows` : "";
  byId("legend").replaceChildren(...drawn.map((name, i) => {
    const item = make("li", {}, `● ${name}`);
    item.style.color = colour(COLOURS[i]); // through the object model: no inline style is parsed
    return item;
  }));
  if (!values.length) return;
  const sorted = [...values].sort((a, b) => a - b), cut = Math.floor(sorted.length * 0.005);
  const low = sorted[cut], high = sorted[sorted.length - 1 - cut], span = high - low || 1;
  const y = (value) => height - 24 - ((value - low) / span) * (height - 48);
  pen.font = "22px sans-serif";
  pen.fillStyle = colour("--dim");
  pen.fillText(figure(high), 10, 24);
  pen.fillText(figure(low), 10, height - 8);
  drawn.forEach((name, i) => {
    pen.strokeStyle = colour(COLOURS[i]);
    pen.lineWidth = 2.5;
    pen.beginPath();
    let begun = false;
    rows.forEach((row, at) => {
      if (!(name in row.outputs)) return;
      const x = (at / Math.max(1, rows.length - 1)) * width;
      if (begun) pen.lineTo(x, y(row.outputs[name])); else pen.moveTo(x, y(row.outputs[name]));
      begun = true;
    });
    pen.stroke();
  });
}

function snapshots(made) {
  const items = made.map((one) => {
    const at = new Date(one.at_ns / 1e6).toISOString().slice(0, 19).replace("T", " ");
    const words = [`cut ${one.number}`, at, one.trigger].map((word) => make("span", {}, word));
    return make("li", {}, make("code", {}, one.id.slice(0, 12)), ...words);
  });
  byId("snapshots").replaceChildren(...(items.length ? items : [make("li", {}, "none yet")]));
}

function said(state) {
  const chunks = state.marks.reduce((sum, mark) => sum + mark.ordinal, 0);
  const held = state.slots.reduce((sum, slot) => sum + slot.held_bytes, 0) / 2 ** 20;
  return `${chunks.toLocaleString("en")} chunks held · ${state.facts_missing} facts named by peers not here · ` +
    `${state.diverged.length} keys diverged · ${figure(held)} MiB of WAL held back by slots`;
}

async function look() {
  try {
    const [state, rows] = await Promise.all([get("/state"), get("/latest")]);
    byId("node").textContent = state.node;
    document.title = `orrery ${state.node}: ${state.state}`;
    byId("word").textContent = byId("word").dataset.state = state.state;
    byId("said").textContent = said(state);
    sky(state); road(state); snapshots(state.snapshots); market(rows);
    before = state;
    if (chosen) chart(await get(`/rows?symbol=${encodeURIComponent(chosen)}`));
  } catch (cause) {
    byId("word").textContent = byId("word").dataset.state = "AWAY";
    byId("said").textContent = String(cause.message || cause);
  }
}

async function watch() {
  for (;;) {
    if (!document.hidden) await look();
    await new Promise((done) => setTimeout(done, SECOND_MS));
  }
}
watch();
