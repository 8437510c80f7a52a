"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const FIRED = 0, HIGHEST = 1, BINS = 2, STRONGEST = 3, RANDOM = 4, RAISED = 5, LOWERED = 6, NEAR = 7;
const HEIGHT = 52, LEVELS = 999, BUCKETS = 34;
data.words[data.bos] = "BOS";
const features = data.features, words = data.words, count = features.length;
const byId = (id) => document.getElementById(id);
const list = byId("list"), space = byId("space"), detail = byId("detail"), search = byId("search");
const state = { here: 0, shown: [], bucket: null };

// ---- small things ---------------------------------------------------------------------------------------
function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "rect", "text", "line", "title"].includes(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}
const visible = (word) => word.replace(/\n/g, "↵").replace(/\t/g, "⇥");
const bare = (word) => visible(word).trim() || "␣";
const density = (feature) => features[feature][FIRED] / data.tokens;
const number = (value) => value.toLocaleString("en");
function often(share) {
  if (!share) return "never";
  if (share >= 0.001) return (100 * share).toLocaleString("en", { maximumSignificantDigits: 2 }) + " %";
  return "1 in " + Math.round(1 / share).toLocaleString("en", { maximumSignificantDigits: 2 });
}
const pairs = (flat) => Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i], flat[2 * i + 1]]);

// the words on which a feature is strongest: what stands for it in lists
const firesOn = features.map((feature) => {
  const counts = new Map();
  for (const [row, start, , peak] of [...feature[STRONGEST], ...feature[RANDOM]]) {
    const word = bare(words[data.rows[row][start + peak]]);
    counts.set(word, (counts.get(word) || 0) + 1);
  }
  return [...counts].sort((a, b) => b[1] - a[1]).map(([word]) => word);
});
const says = features.map((feature) => pairs(feature[RAISED]).slice(0, 5).map(([word]) => bare(words[word])));
const lower = (some) => some.map((one) => one.map((word) => word.toLowerCase()));
const firesLower = lower(firesOn), saysLower = lower(says);
const contextText = [];
function textOf(feature) {
  contextText[feature] ??= [...features[feature][STRONGEST], ...features[feature][RANDOM]]
    .map(([row, start, length]) => data.rows[row].slice(start, start + length).map((id) => words[id]).join(""))
    .join("\n").toLowerCase();
  return contextText[feature];
}

// ---- the overview: how often features fire, on a logarithmic axis ---------------------------------------
const lowest = Math.log10(1 / data.tokens);
const bucketOf = (feature) => {
  const share = density(feature);
  return share ? Math.min(BUCKETS - 1, Math.floor((BUCKETS * (Math.log10(share) - lowest)) / -lowest)) : -1;
};
function drawOverview() {
  const svg = byId("overview"), counts = Array(BUCKETS).fill(0);
  for (let i = 0; i < count; i++) if (bucketOf(i) >= 0) counts[bucketOf(i)]++;
  const most = Math.max(...counts, 1), width = 340 / BUCKETS, here = bucketOf(state.here);
  svg.replaceChildren();
  counts.forEach((n, i) => {
    const height = n ? Math.max(1.5, (42 * n) / most) : 0;
    const kind = i === here ? "here" : state.bucket === i ? "in" : "";
    svg.append(make("rect", { x: i * width + 0.5, y: 44 - height, width: width - 1, height, class: kind, rx: 1 }));
    const hit = make("rect", { x: i * width, y: 0, width, height: 46, class: "hit" },
      make("title", {}, `${number(n)} features fire on about ${often(10 ** (lowest * (1 - (i + 0.5) / BUCKETS)))} of tokens`));
    hit.addEventListener("click", () => { state.bucket = state.bucket === i ? null : i; choose(); });
    svg.append(hit);
  });
  for (let exponent = Math.ceil(lowest); exponent <= 0; exponent++) {
    const x = (340 * (exponent - lowest)) / -lowest, anchor = exponent === 0 ? "end" : x < 12 ? "start" : "middle";
    const label = exponent === 0 ? "every token" : exponent >= -2 ? 100 * 10 ** exponent + " %" : "1 in " + number(10 ** -exponent);
    svg.append(make("text", { x, y: 55, "text-anchor": anchor }, label));
  }
}

// ---- the list: only the items in sight exist ------------------------------------------------------------
const ORDERS = {
  number: (a, b) => a - b,
  often: (a, b) => features[b][FIRED] - features[a][FIRED] || a - b,
  rare: (a, b) => features[a][FIRED] - features[b][FIRED] || a - b,
  strong: (a, b) => features[b][HIGHEST] - features[a][HIGHEST] || a - b,
};
function rank(feature, query) {
  if (String(feature) === query.replace(/^#/, "")) return 0;
  const holds = (some) => some.some((word) => word.includes(query));
  if (firesLower[feature].includes(query)) return 1;
  if (saysLower[feature].includes(query)) return 2;
  if (holds(firesLower[feature])) return 3;
  if (holds(saysLower[feature])) return 4;
  return textOf(feature).includes(query) ? 5 : 9;
}
function choose() {
  const query = search.value.trim().toLowerCase(), silent = byId("silent").checked;
  const order = ORDERS[byId("sort").value];
  let found = features.map((_, feature) => feature).filter((feature) => silent || features[feature][FIRED]);
  if (state.bucket !== null) found = found.filter((feature) => bucketOf(feature) === state.bucket);
  found.sort(order);
  if (query) {
    const ranks = new Map(found.map((feature) => [feature, rank(feature, query)]));
    found = found.filter((feature) => ranks.get(feature) < 9).sort((a, b) => ranks.get(a) - ranks.get(b));
  }
  state.shown = found;
  byId("count").textContent = found.length === count ? number(count) : `${number(found.length)} of ${number(count)}`;
  space.style.height = HEIGHT * found.length + "px";
  list.scrollTop = 0;
  drawOverview();
  drawList();
}
function item(feature, place) {
  const share = density(feature);
  const node = make("div", { class: "item" + (feature === state.here ? " here" : "") + (share ? "" : " silent"), role: "option",
    "aria-selected": feature === state.here, style: `top:${place * HEIGHT}px` },
    make("span", { class: "number" }, String(feature)),
    make("span", { class: "fires" }, firesOn[feature].slice(0, 6).join(" · ") || "silent"),
    make("span", { class: "says" }, says[feature].length ? "→ " + says[feature].join(" · ") : ""),
    make("span", { class: "often" }, often(share), make("i", { style: `width:${share ? 100 * (1 - Math.log10(share) / lowest) : 0}%` })));
  node.addEventListener("click", () => go(feature));
  return node;
}
function drawList() {
  const first = Math.max(0, Math.floor(list.scrollTop / HEIGHT) - 4);
  const last = Math.min(state.shown.length, first + Math.ceil(list.clientHeight / HEIGHT) + 10);
  const items = [];
  for (let place = first; place < last; place++) items.push(item(state.shown[place], place));
  if (!state.shown.length) items.push(make("p", { class: "nothing" }, "No feature matches."));
  space.replaceChildren(...items);
}
let drawing = 0;
list.addEventListener("scroll", () => { cancelAnimationFrame(drawing); drawing = requestAnimationFrame(drawList); });
addEventListener("resize", drawList);

// ---- one feature ----------------------------------------------------------------------------------------
function histogram(feature) {
  const [, highest, bins] = [null, features[feature][HIGHEST], features[feature][BINS]];
  const most = Math.max(...bins, 1), width = 300 / bins.length, scale = (n) => Math.log1p(n) / Math.log1p(most);
  const svg = make("svg", { viewBox: "0 0 300 190", role: "img" }, make("title", {}, "How strongly it fires"));
  for (let n = 1; n <= most; n *= 10) {
    const y = 168 - 152 * scale(n);
    svg.append(make("line", { x1: 0, x2: 300, y1: y, y2: y }));
    svg.append(make("text", { x: 300, y: y - 2, "text-anchor": "end" }, number(n)));
  }
  bins.forEach((n, i) => {
    const height = 152 * scale(n), from = ((highest * i) / bins.length).toPrecision(2), to = ((highest * (i + 1)) / bins.length).toPrecision(2);
    svg.append(make("rect", { x: i * width + 0.5, y: 168 - height, width: width - 1, height, opacity: 0.35 + (0.65 * (i + 1)) / bins.length },
      make("title", {}, `${number(n)} tokens between ${from} and ${to}`)));
  });
  svg.append(make("text", { x: 0, y: 182 }, "0"), make("text", { x: 300, y: 182, "text-anchor": "end" }, String(highest)),
    make("text", { x: 150, y: 182, "text-anchor": "middle" }, "activation; height: tokens, logarithmic"));
  return make("section", { class: "card" }, make("h3", {}, "How strongly it fires"), svg);
}
function wordsCard(feature) {
  const raised = pairs(features[feature][RAISED]), lowered = pairs(features[feature][LOWERED]).slice(0, 4);
  if (!raised.length) return "";
  const most = Math.max(...[...raised, ...lowered].map(([, value]) => Math.abs(value)), 1e-9);
  const line = (kind) => ([word, value]) => make("li", { class: kind },
    make("span", { class: "word", title: words[word] }, visible(words[word]).trimStart() || "␣"),
    make("span", { class: "bar", style: `width:${(100 * Math.abs(value)) / most}%` }),
    make("span", { class: "value" }, (value < 0 ? "−" : "+") + Math.abs(value).toPrecision(2)));
  return make("section", { class: "card" }, make("h3", {}, "Promotes and suppresses, in logits"),
    make("ul", { class: "words" }, ...raised.slice(0, 8).map(line("raised")), ...lowered.map(line("lowered"))));
}
function nearCard(feature) {
  const line = ([other, cosine]) => make("li", {}, make("a", { href: "#" + other }, "#" + other),
    make("span", { class: "what" }, firesOn[other].slice(0, 4).join(" · ") || "silent"),
    make("span", { class: "value" }, cosine.toFixed(2)));
  return make("section", { class: "card" }, make("h3", {}, "Neighbours, by cosine"),
    make("ul", { class: "near" }, ...pairs(features[feature][NEAR]).map(line)));
}
function contextLine(feature, [row, start, length, peak, fires]) {
  const highest = features[feature][HIGHEST], levels = new Map(fires);
  const text = make("span", { class: "text" });
  if (start && data.rows[row][start] !== data.bos) text.append("…");
  data.rows[row].slice(start, start + length).forEach((id, at) => {
    if (id === data.bos) { text.append(make("span", { class: "bos" }, "BOS")); return; }
    const level = (levels.get(at) || 0) / LEVELS;
    const shown = visible(words[id]) + (words[id].includes("\n") ? "\n" : "");
    if (!level) { text.append(make("span", {}, shown)); return; }
    const gap = shown.match(/^ */)[0];
    text.append(gap, make("span", { class: at === peak ? "peak" : "", title: (highest * level).toPrecision(3),
      style: `background:rgba(var(--heat),${(0.08 + 0.62 * level).toFixed(2)})` }, shown.slice(gap.length)));
  });
  const value = highest * ((levels.get(peak) || 0) / LEVELS);
  return make("li", {}, make("span", { class: "value" }, value.toPrecision(3)), text);
}
function contexts(feature, kind, title) {
  if (!features[feature][kind].length) return "";
  return make("section", { class: "contexts" }, make("h3", {}, title),
    make("ol", {}, ...features[feature][kind].map((context) => contextLine(feature, context))));
}
function step(by) {
  const place = state.shown.indexOf(state.here);
  return state.shown[place < 0 ? 0 : place + by];
}
function drawDetail() {
  const feature = state.here, own = features[feature], share = density(feature);
  const move = make("span", { class: "move" });
  for (const [by, label] of [[-1, "← previous"], [1, "next →"]])
    if (step(by) !== undefined) move.append(make("a", { href: "#" + step(by) }, label));
  const fact = (value, what) => make("span", {}, make("b", {}, value), " " + what);
  const typical = own[RANDOM].length ? "On rows drawn at random among those where it fires" : "";
  detail.replaceChildren(
    make("div", { class: "head" }, make("h2", {}, "Feature " + feature),
      make("p", { class: "summary" }, firesOn[feature].slice(0, 6).join(" · ")), move),
    make("div", { class: "facts" }, fact(often(share), share ? "of tokens" : "on this text"),
      fact(number(own[FIRED]), "tokens"), fact(String(own[HIGHEST]), "highest activation")),
    ...(share ? [] : [make("p", { class: "silent-note" },
      `Silent on all ${number(data.tokens)} tokens of this text. It may be dead, or it may wait for something that this text doesn't hold.`)]),
    make("div", { class: "cards" }, share ? histogram(feature) : "", wordsCard(feature), nearCard(feature)),
    contexts(feature, STRONGEST, "Where it fires most"),
    contexts(feature, RANDOM, typical),
  );
  detail.scrollTop = 0;
}
function reveal() {
  const place = state.shown.indexOf(state.here);
  if (place < 0) return;
  const top = place * HEIGHT;
  if (top < list.scrollTop || top + HEIGHT > list.scrollTop + list.clientHeight)
    list.scrollTop = top - list.clientHeight / 2 + HEIGHT / 2;
}
function go(feature) { location.hash = feature; }
function follow() {
  const asked = Number(location.hash.slice(1));
  state.here = location.hash && asked >= 0 && asked < count ? Math.floor(asked) : state.shown[0] ?? 0;
  reveal(); drawList(); drawOverview(); drawDetail();
}

// ---- start ----------------------------------------------------------------------------------------------
const active = features.reduce((sum, feature) => sum + feature[FIRED], 0) / data.tokens;
const silentOnes = features.filter((feature) => !feature[FIRED]).length;
byId("title").textContent = data.title;
document.title = data.title + ", features";
byId("about").textContent = [`${number(count)} features at ${data.hook}`, `${active.toFixed(1)} active on a token`,
  `${number(silentOnes)} silent`, `${number(data.tokens)} tokens${data.text ? " of " + data.text : ""}`].join("  ·  ");
search.addEventListener("input", () => { choose(); });
search.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && state.shown.length) { go(state.shown[0]); list.focus(); }
  if (event.key === "Escape") { search.value = ""; choose(); search.blur(); }
});
byId("sort").addEventListener("change", choose);
byId("silent").addEventListener("change", choose);
addEventListener("hashchange", follow);
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || ["INPUT", "SELECT"].includes(event.target.tagName)) return;
  const by = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[event.key];
  if (event.key === "/") { event.preventDefault(); search.focus(); }
  if (by && step(by) !== undefined && (event.key.length === 1 || event.target === list)) { event.preventDefault(); go(step(by)); }
});
choose();
follow();
