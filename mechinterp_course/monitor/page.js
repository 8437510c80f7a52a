"use strict";
// The token comes behind the # of the address that the monitor printed, and stays in this tab.
const byId = (id) => document.getElementById(id);
const fragment = location.hash.slice(1);
if (fragment) {
  sessionStorage.setItem("monitor-token", fragment);
  history.replaceState(null, "", location.pathname);
}
const token = sessionStorage.getItem("monitor-token") || "";
const state = {
  watchlist: null, chosen: 0, controls: {}, rates: [], outside: [], history: [], // history: rates after each token seen
  run: null, steps: [], before: null, asked: 0, // what is shown, and how often something was asked to be
  running: null, following: true, // the entry of `runs` that is being generated, its steps with it; is it shown?
  alerts: [], runs: [], speed: null, busy: false,
};
const HISTORY = 600;

// ---- talking to the monitor -----------------------------------------------------------------------------
async function ask(path, body) {
  const headers = { Authorization: "Bearer " + token };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch("api/" + path, body === undefined ? { headers } : { method: "POST", headers, body: JSON.stringify(body) });
  if (!answer.ok) {
    const said = await answer.json().catch(() => ({}));
    const problem = typeof said.error === "string" ? said.error : Array.isArray(said.detail) ? said.detail.map((one) => one.msg).join("; ") : answer.statusText;
    throw Object.assign(new Error(problem), { status: answer.status });
  }
  return answer;
}
async function attempt(work) {
  try { return await work(); } catch (error) { complain(error.message); }
}
function complain(message) { status("lost", message); }
async function listen() {
  for (;;) {
    try {
      const stream = await ask("events"); // listening begins before the state is asked for, so nothing falls between
      await begin();
      const reader = stream.body.pipeThrough(new TextDecoderStream()).getReader();
      let held = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        held += value;
        const parts = held.split("\n\n");
        held = parts.pop();
        for (const part of parts) {
          const line = part.split("\n").find((one) => one.startsWith("data: "));
          if (line) hear(JSON.parse(line.slice(6)));
        }
      }
      status("lost", "the monitor has ended");
    } catch (error) {
      if (error.status === 401) { status("lost", "open the address that the monitor printed: it holds the token"); return; }
      status("lost", "no connection, trying again");
    }
    await new Promise((wait) => setTimeout(wait, 1000));
  }
}
async function begin() {
  const seen = await (await ask("state")).json();
  Object.assign(state, { watchlist: seen.watchlist, controls: seen.controls, rates: seen.rates, outside: seen.outside, runs: seen.runs, alerts: seen.alerts });
  const list = seen.watchlist;
  byId("model").textContent = list.model;
  document.title = "Monitor: " + list.model;
  byId("about").textContent = `${list.sae} at ${list.hook}  ·  ordinary: ${list.calibrated_on}`;
  byId("window").textContent = `rates over ${list.window} tokens`;
  drawExamples();
  buildFeatures();
  state.busy = seen.running !== null || seen.waiting > 0;
  state.running = state.runs.find((one) => one.id === seen.running) ?? null;
  if (state.running) state.running.steps = await stepsOf(state.running.id);
  state.following = true;
  if (state.runs.length) await show(state.runs[0].id, true);
  choose(state.chosen);
  drawLogs();
  working();
}
const HEAR = {
  run(event) {
    const known = state.runs.find((one) => one.id === event.run); // was in the state already
    state.running = known ?? { id: event.run, prompt: event.prompt, controls: event.controls, said: "", alerts: 0, ended: null };
    state.running.steps ??= [];
    if (!known) state.runs.unshift(state.running);
    state.runs.length = Math.min(state.runs.length, 50);
    Object.assign(state, { busy: true, speed: null, problem: null });
    if (state.following) look(state.running, state.running.steps);
    working();
    drawLogs();
  },
  token(event) {
    if (state.running?.id !== event.run) return;
    const steps = state.running.steps;
    if (steps.length && steps.at(-1).position >= event.position) return; // was in the state already
    steps.push({ text: event.text, generated: event.generated, position: event.position, activations: event.activations, alarm: false });
    state.rates = event.rates;
    state.history.push(event.rates);
    if (state.history.length > HISTORY) state.history.shift();
    if (event.speed) state.speed = event.speed;
    if (state.steps === steps) byId("transcript").append(word(steps.at(-1)));
    later();
  },
  alert(event) {
    const place = state.watchlist.features.findIndex((one) => one.feature === event.feature);
    if (place >= 0) state.outside[place] = event.leaves;
    const step = event.run === state.running?.id && state.running.steps.find((one) => one.position === event.position);
    if (step && event.leaves) { step.alarm = true; drawTranscript(); }
    state.alerts.unshift(event);
    state.alerts.length = Math.min(state.alerts.length, 100);
    drawLogs();
    later();
  },
  end(event) {
    state.busy = event.waiting > 0;
    const run = state.running?.id === event.run ? state.running : null;
    state.running = null;
    if (run) {
      run.said = run.steps.filter((one) => one.generated).map((one) => one.text).join("");
      run.alerts = state.alerts.filter((one) => one.run === run.id && one.leaves).length;
      run.ended = event.how;
      delete run.steps; // the store has them
    }
    working();
    drawRun();
    drawLogs();
  },
  stop(event) { state.busy = event.running !== null; working(); },
  controls(event) { state.controls = event.controls; drawControl(); drawFeatures(); },
  error(event) { state.problem = event.message; state.busy = event.waiting > 0; working(); },
};
function hear(event) { HEAR[event.type]?.(event); }
function status(kind, words) { byId("status").className = "status " + kind; byId("status").textContent = words; }
function working() {
  byId("stop").disabled = !state.busy;
  const speed = state.speed ? `  ·  ${state.speed.toFixed(0)} tokens/s` : "";
  if (state.problem && !state.busy) complain(state.problem);
  else status(state.busy ? "busy" : "idle", (state.busy ? "generating" : "idle") + speed);
}
let drawing = false;
function later() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => { drawing = false; working(); drawFeatures(); drawChart(); drawBanner(); });
}

// ---- small things ---------------------------------------------------------------------------------------
function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) key === "onclick" ? node.addEventListener("click", value) : node.setAttribute(key, value);
  node.append(...children);
  return node;
}
const percent = (share) => (100 * share).toLocaleString("en", { minimumFractionDigits: share && share < 0.1 ? 1 : 0, maximumFractionDigits: share < 0.1 ? 1 : 0 }) + " %";
function moved(alert) {
  const usual = state.watchlist.features.find((one) => one.feature === alert.feature);
  const ordinary = usual ? `, ordinary ${percent(usual.rate)}` : "";
  if (!alert.leaves) return "is at " + percent(alert.rate) + ordinary;
  return (alert.rate > alert.high ? "rose above " + percent(alert.high) : "fell below " + percent(alert.low)) + ordinary;
}
const clock = (at) => new Date(1000 * at).toLocaleTimeString("en", { hour12: false });
const watched = () => state.watchlist.features[state.chosen];
const short = (value) => Number(value).toFixed(Math.abs(value) < 10 ? 2 : 1).replace("-", "−");
const described = (controls) => Object.entries(controls).map(([feature, one]) => `${feature} ${one.mode === "hold" ? "held at" : "plus"} ${short(one.value)}`);
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// ---- prompts --------------------------------------------------------------------------------------------
function drawExamples() {
  byId("examples").replaceChildren(...state.watchlist.examples.map((text) =>
    make("button", { type: "button", title: text, onclick: () => { byId("prompt").value = text; generate(); } }, text.replace(/^User:\s*|\s*Assistant:$/g, ""))));
  if (!byId("prompt").value && state.watchlist.examples.length) byId("prompt").value = state.watchlist.examples[0];
}
function generate() {
  state.following = true;
  const typed = { prompt: byId("prompt").value, max_tokens: Number(byId("max").value), temperature: Number(byId("temperature").value), seed: 0 };
  return attempt(() => ask("generate", typed));
}
byId("form").addEventListener("submit", (event) => { event.preventDefault(); generate(); });
byId("prompt").addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); generate(); } });
byId("stop").addEventListener("click", () => attempt(() => ask("stop", {})));
for (const kind of ["csv", "parquet"])
  byId(kind).addEventListener("click", () => attempt(async () => {
    const url = URL.createObjectURL(await (await ask("export." + kind)).blob());
    make("a", { href: url, download: "monitor." + kind }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  }));

// ---- the text -------------------------------------------------------------------------------------------
function word(step) {
  if (step.text === "<|endoftext|>") return make("span", { class: "bos" }, "BOS");
  const value = step.activations[state.chosen] ?? 0, level = Math.min(1, value / watched().highest);
  const gap = step.text.match(/^ */)[0];
  const node = make("span", { class: (step.generated ? "said" : "given") + (step.alarm ? " alarm" : ""), title: "activation " + value.toPrecision(3) }, step.text.slice(gap.length));
  if (level > 0.01) node.style.background = `rgba(var(--heat), ${(0.07 + 0.6 * level).toFixed(2)})`;
  const whole = document.createDocumentFragment();
  whole.append(gap, node);
  return whole;
}
function drawTranscript() { byId("transcript").replaceChildren(...state.steps.map(word)); }
function drawRun() {
  const controls = state.run ? described(state.run.controls) : [];
  byId("steered").replaceChildren(...controls.map((one) => make("span", {}, one)));
  const before = byId("before");
  before.hidden = !state.before;
  if (state.before) {
    const how = described(state.before.controls);
    before.querySelector("h3").textContent = how.length ? "The same prompt before, with " + how.join(", ") : "The same prompt before, left alone";
    before.querySelector("p").textContent = state.before.said.trim() || "(nothing)";
  }
}
async function stepsOf(id) {
  const steps = await (await ask("runs/" + id)).json();
  const numbers = state.watchlist.features.map((one) => one.feature);
  const alarms = new Set(state.alerts.filter((one) => one.run === id && one.leaves).map((one) => one.position));
  if (!state.history.length) state.history = steps.map((one) => numbers.map((number, place) => one.features[number]?.[1] ?? state.rates[place]));
  return steps.map((one) => ({ text: one.text, generated: Boolean(one.generated), position: one.position, alarm: alarms.has(one.position),
    activations: numbers.map((number) => one.features[number]?.[0] ?? 0), controls: one.controls }));
}
async function show(id, following = id === state.running?.id) {
  const asked = ++state.asked;
  state.following = following;
  const steps = id === state.running?.id ? state.running.steps : await stepsOf(id);
  if (asked !== state.asked || !steps.length && !state.runs.some((one) => one.id === id)) return; // something else was asked for since, or there is no such run
  const run = state.runs.find((one) => one.id === id) ?? ofSteps(id, steps);
  byId("prompt").value = run.prompt;
  look(run, steps);
}
function ofSteps(id, steps) { // a run too old to be in the list
  const given = steps.filter((one) => !one.generated && one.text !== "<|endoftext|>").map((one) => one.text).join("");
  return { id, prompt: given.trim(), controls: JSON.parse(steps[0].controls) };
}
function look(run, steps) {
  const past = state.runs.find((other) => other.id < run.id && other.prompt === run.prompt && JSON.stringify(other.controls) !== JSON.stringify(run.controls));
  state.before = past ? { controls: past.controls, said: past.said } : null;
  Object.assign(state, { run, steps, asked: state.asked + 1 });
  drawTranscript(); drawRun(); drawFeatures(); drawChart();
}

// ---- watched features -----------------------------------------------------------------------------------
function buildFeatures() {
  byId("features").replaceChildren(...state.watchlist.features.map((one, place) => make("li", {},
    make("button", { class: "feature", type: "button", "data-feature": one.feature, "aria-pressed": "false", onclick: () => choose(place) },
      make("span", { class: "label" }, make("b", { title: one.label }, one.label || "feature " + one.feature), make("small")),
      make("canvas", { title: "activation on the tokens of this text" }),
      make("span", { class: "gauge", title: `ordinary: ${percent(one.rate)}, between ${percent(one.low)} and ${percent(one.high)}` },
        make("span", { class: "track" }, make("span", { class: "ordinary" })), make("span", { class: "mark" }), make("span", { class: "percent" }))))));
  drawFeatures();
}
function drawFeatures() {
  if (!state.watchlist) return;
  byId("features").querySelectorAll(".feature").forEach((node, place) => {
    const one = state.watchlist.features[place], rate = state.rates[place] ?? one.rate, control = state.controls[one.feature];
    const most = Math.min(1, Math.max(2 * one.high, 0.1)), reach = (share) => 100 * Math.min(1, share / most);
    node.setAttribute("aria-pressed", String(place === state.chosen));
    node.classList.toggle("out", Boolean(state.outside[place]));
    const small = node.querySelector("small");
    small.replaceChildren("#" + one.feature + (one.note && !control ? "  " + one.note : ""));
    if (control) small.append(make("em", {}, (control.mode === "hold" ? "held at " : "plus ") + short(control.value)));
    const ordinary = node.querySelector(".ordinary"), mark = node.querySelector(".mark");
    ordinary.style.left = reach(one.low) + "%";
    ordinary.style.width = reach(one.high) - reach(one.low) + "%";
    mark.style.left = `calc((100% - 3.2rem) * ${reach(rate) / 100})`;
    node.querySelector(".percent").textContent = percent(rate);
    sparkline(node.querySelector("canvas"), state.steps.map((step) => step.activations[place] ?? 0), one, state.steps);
  });
}
function surface(canvas) {
  const scale = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) { canvas.width = Math.round(width * scale); canvas.height = Math.round(height * scale); }
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  return [pen, width, height];
}
function sparkline(canvas, values, one, steps) {
  const [pen, width, height] = surface(canvas), shown = values.slice(-60), wide = Math.min(8, width / Math.max(shown.length, 1)), offset = values.length - shown.length;
  pen.fillStyle = style("--line");
  pen.fillRect(0, height - 1, width, 1);
  shown.forEach((value, i) => {
    const tall = Math.min(1, value / one.highest) * (height - 3);
    pen.fillStyle = `rgba(${style("--heat")}, ${steps[offset + i].generated ? 1 : 0.5})`;
    pen.fillRect(i * wide, height - 1 - tall, Math.max(1, wide - 1), tall);
  });
}
function drawChart() {
  if (!state.watchlist) return;
  const one = watched(), values = state.history.map((rates) => rates[state.chosen]), rate = state.rates[state.chosen] ?? one.rate;
  const now = byId("now");
  now.textContent = `${percent(rate)} now, ordinary ${percent(one.low)} to ${percent(one.high)}`;
  now.classList.toggle("out", Boolean(state.outside[state.chosen]));
  const [pen, width, height] = surface(byId("chart")), floor = height - 16, most = Math.max(1.25 * one.high, 1.1 * Math.max(...values, 0), 0.05);
  const y = (share) => floor - (floor - 6) * Math.min(1, share / most), x = (i) => 34 + ((width - 38) * i) / Math.max(values.length - 1, 120);
  pen.fillStyle = style("--band");
  pen.fillRect(34, y(one.high), width - 38, y(one.low) - y(one.high));
  pen.strokeStyle = style("--link");
  pen.setLineDash([3, 4]);
  pen.beginPath(); pen.moveTo(34, y(one.rate)); pen.lineTo(width - 4, y(one.rate)); pen.stroke();
  pen.setLineDash([]);
  pen.fillStyle = style("--faint");
  pen.font = "10px system-ui, sans-serif";
  pen.textAlign = "right"; pen.textBaseline = "middle";
  for (const share of [0, one.high]) pen.fillText(percent(share), 30, y(share));
  pen.textBaseline = "alphabetic";
  pen.fillText("tokens seen →", width - 4, height - 3);
  pen.lineWidth = 1.8; pen.lineJoin = "round";
  for (let i = 1; i < values.length; i++) {
    const out = values[i] > one.high || values[i] < one.low;
    pen.strokeStyle = out ? style("--alarm") : style("--ink");
    pen.beginPath(); pen.moveTo(x(i - 1), y(values[i - 1])); pen.lineTo(x(i), y(values[i])); pen.stroke();
  }
}
function choose(place) {
  state.chosen = Math.min(place, state.watchlist.features.length - 1);
  const one = watched();
  byId("chosen").textContent = `#${one.feature}  ${one.label}`;
  byId("chosen").title = one.label;
  byId("why").textContent = one.note ? "watched because: " + one.note : "";
  byId("shade").textContent = `shaded: activation of #${one.feature}`;
  drawFeatures(); drawChart(); drawTranscript(); drawControl();
}

// ---- controls -------------------------------------------------------------------------------------------
const slider = byId("slider"), modes = [...document.querySelectorAll("input[name=mode]")];
const mode = () => modes.find((one) => one.checked).value;
function range(kind) {
  const most = 2 * watched().highest;
  slider.min = kind === "add" ? -most : 0;
  slider.max = most;
  byId("least").textContent = short(slider.min);
  byId("most").textContent = short(most);
  byId("scalehint").textContent = kind === "add" ? "times its direction of length 1" : `highest seen: ${short(watched().highest)}`;
}
function drawControl() {
  if (!state.watchlist) return;
  const control = state.controls[watched().feature], kind = control?.mode ?? "off";
  modes.forEach((one) => { one.checked = one.value === kind; });
  range(kind);
  if (!slider.matches(":active")) slider.value = control ? control.value : kind === "add" ? 0 : watched().highest / 2;
  slider.style.opacity = control ? 1 : 0.45;
  byId("value").textContent = control ? short(control.value) : "";
}
let rerun = 0;
function send(kind, value) {
  const body = { feature: watched().feature, mode: kind, value };
  clearTimeout(rerun);
  rerun = setTimeout(async () => {
    await attempt(async () => {
      await ask("controls", body);
      if (byId("again").checked && byId("prompt").value.trim()) await generate();
    });
  }, 120);
}
slider.addEventListener("input", () => {
  if (mode() === "off") modes.find((one) => one.value === "hold").checked = true;
  slider.style.opacity = 1;
  byId("value").textContent = short(slider.value);
  send(mode(), Number(slider.value));
});
modes.forEach((one) => one.addEventListener("change", () => {
  range(one.value);
  if (one.value === "hold") slider.value = 0;
  if (one.value === "add") slider.value = -watched().highest / 2;
  byId("value").textContent = one.value === "off" ? "" : short(slider.value);
  send(one.value, one.value === "off" ? 0 : Number(slider.value));
}));

// ---- alerts and runs ------------------------------------------------------------------------------------
function drawBanner() {
  const out = state.watchlist.features.map((one, place) => [one, place]).filter(([, place]) => state.outside[place]);
  const banner = byId("banner");
  banner.hidden = !out.length;
  banner.replaceChildren(make("b", {}, out.length === 1 ? "One watched feature has left its ordinary rate: " : `${out.length} watched features have left their ordinary rates: `),
    ...out.map(([one, place]) => make("button", { type: "button", onclick: () => choose(place) }, `#${one.feature} ${one.label.split(" · ")[0]} ${percent(state.rates[place])}`)));
}
function drawLogs() {
  drawBanner();
  const alerts = state.alerts.map((one) => make("li", {}, make("button", { type: "button", onclick: () => attempt(() => show(one.run)) },
    make("span", { class: "said" }, make("time", {}, clock(one.at)), make("span", { class: one.leaves ? "left-band" : "back" }, one.leaves ? "left " : "back "), `#${one.feature} ${one.label}`),
    make("span", { class: "soft" }, `${moved(one)}; at “${(one.text || "").trim()}” in run ${one.run}`))));
  byId("alerts").replaceChildren(...(alerts.length ? alerts : [make("li", { class: "none" }, "Every rate is in its band.")]));
  const runs = state.runs.map((one) => make("li", {}, make("button", { type: "button", onclick: () => attempt(() => show(one.id)) },
    make("span", { class: "soft" }, make("span", { class: "number" }, String(one.id)), one.prompt),
    make("span", { class: "said" }, "→ " + (one.said.trim() || (one === state.running ? "…" : "(nothing)"))),
    make("span", { class: "chips" }, ...described(one.controls).map((control) => make("span", {}, control))))));
  byId("runs").replaceChildren(...(runs.length ? runs : [make("li", { class: "none" }, "Nothing has been generated yet.")]));
}
addEventListener("resize", () => { drawFeatures(); drawChart(); });
listen();
