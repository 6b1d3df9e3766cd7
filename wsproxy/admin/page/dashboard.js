// The dashboard: listens to /v1/events and shows what it hears; asks and says what `wsproxy status`, `drain` and the others do.
import { ago, ask, by, clock, kind, listen, make, ms, number, put, span, spark, takeInk, takeToken, time, Wrong } from "/dashboard-parts.js";
import { begin, drawHeat, keyOf, show, slowOf, takeHeat } from "/dashboard-servers.js";

const SAMPLES = 180, FIRST_SAMPLES = 40;  // of the lines in the tiles; in this browser only
const MOST_CHANGES = 4096, SHOWN_CHANGES = 60;
const AGAIN_MS = 2000, LOOK_AGAIN_MS = 2000, TYPING_MS = 250;
let state = null, heardAt = 0, rates = new Map(), samples = [], changes = [], since = 0, shownChanges = SHOWN_CHANGES;
let isListening = false, reloadsSeen = "", refused = null, explainedFor = "";

// --- the proxy and the numbers of it ---------------------------------------------------------------------------------
function onState(next) {
  const now = performance.now(), before = state, seconds = (now - heardAt) / 1000;
  state = next; heardAt = now;
  if (before && before.pid === next.pid && seconds > .2) takeRates(before.servers, next.servers, seconds);
  by("all").hidden = false;
  by("ask-token").hidden = true;
  showFacts();
  showTiles();
  show(state.servers, rates);
  showWatch();
  const reloads = JSON.stringify([state.reloads, state.config.generation]);
  if (reloads !== reloadsSeen) { reloadsSeen = reloads; showHistory(); }
  const fitness = state.servers.map(row => row.state + row.weight).join();
  if (fitness !== explainedFor) { explainedFor = fitness; explain(); }
}
function takeRates(before, servers, seconds) {
  const old = new Map(before.map(row => [keyOf(row), row])), next = new Map();
  const sum = { requests: 0, errors: 0, affinity: 0, answers: 0, waited: 0 };
  for (const row of servers) {
    const was = old.get(keyOf(row));
    if (!was) continue;
    const more = of => Math.max(row[of] - was[of], 0);
    const last = rates.get(keyOf(row)) || { requests: 0, errors: 0 };
    // A moving mean: single seconds jump.
    next.set(keyOf(row), { requests: eased(last.requests, more("requests") / seconds), errors: eased(last.errors, more("errors") / seconds) });
    sum.requests += more("requests"); sum.errors += more("errors"); sum.affinity += more("by_affinity");
    sum.answers += more("answers"); sum.waited += more("latency_total_ms");
  }
  rates = next;
  samples.push({ rate: sum.requests / seconds, errors: sum.errors / seconds, flight: flightOf(servers), latency: sum.answers ? sum.waited / sum.answers : -1, ...sum });
  samples = samples.slice(-SAMPLES);
}
function eased(last, now) { const value = .6 * last + .4 * now; return value < .05 ? 0 : value; }
function flightOf(servers) { return servers.reduce((sum, row) => sum + row.in_flight, 0); }

function showFacts() {
  const { config, workers } = state, facts = by("facts");
  const parts = [["wsproxy ", state.version], ["pid ", String(state.pid)], ["up for ", ago(state.started_at).replace(" ago", "")], ["workers ", workers.length + " of " + state.worker_count], ["configuration ", config.path.split("/").pop() || "?"], ["generation ", String(config.generation)]];
  if (facts.children.length !== parts.length) facts.replaceChildren(...parts.map(([name]) => make("span", "", name, make("b"))));
  parts.forEach(([, value], at) => put(facts.children[at].lastChild, value));
  facts.children[4].title = config.path;
  const words = state.drained ? "draining" : workers.length ? "serving" : "no worker";
  put(by("standing").lastElementChild, words);
  kind(by("standing"), "pill " + (state.drained ? "warn" : workers.length ? "good" : "bad"));
  const all = by("drain-all");
  all.hidden = false;
  put(all, state.drained ? "Resume the proxy" : "Drain the proxy");
}

const tiles = new Map();
function tile(name, title, values) {
  let parts = tiles.get(name);
  if (!parts) {
    const value = make("span"), unit = make("small"), line = values ? make("canvas") : make("div", "gauge");
    line.setAttribute("aria-hidden", "true");
    const element = make("div", "tile", make("h3", "", title), make("p", "", value, unit), line);
    tiles.set(name, parts = { element, value, unit, line });
    by("tiles").append(element);
  }
  return (text, unit, isBad) => {
    put(parts.value, text); put(parts.unit, unit); kind(parts.element, isBad ? "tile bad" : "tile");
    if (values) spark(parts.line, values, Math.max(values.length, FIRST_SAMPLES));
    return parts;
  };
}
function recent(of) { return samples.slice(-10).reduce((sum, each) => sum + each[of], 0); }
function showTiles() {
  const last = samples.slice(-5), mean = of => last.length ? last.reduce((sum, each) => sum + each[of], 0) / last.length : 0;
  const answers = recent("answers"), requests = recent("requests");
  tile("rate", "Requests", samples.map(each => each.rate))(number(mean("rate"), 1), "a second");
  tile("latency", "Until answers began", samples.map(each => Math.max(each.latency, 0)))(answers ? ms(recent("waited") / answers) : "–", answers ? "mean" : "no answer of late");
  tile("flight", "In flight", samples.map(each => each.flight))(number(flightOf(state.servers)), "requests");
  tile("errors", "Failed tries", samples.map(each => each.errors))(number(mean("errors"), 1), "a second", mean("errors") > 0);
  tile("affinity", "By affinity", samples.map(each => each.requests ? each.affinity / each.requests : 0))(requests ? number(100 * recent("affinity") / requests) + "%" : "–", requests ? "of requests" : "no request of late");
  const counts = { up: 0, drained: 0, down: 0 };
  for (const row of state.servers) counts[row.state] += 1;
  const parts = tile("up", "Servers up")(String(counts.up), "of " + state.servers.length, counts.down > 0);
  if (!parts.line.children.length) parts.line.append(make("i", "up"), make("i", "drained"), make("i", "down"));
  ["up", "drained", "down"].forEach((each, at) => { parts.line.children[at].style.flex = counts[each] + " 0 0"; parts.line.children[at].hidden = !counts[each]; });
}

// --- what to look at -------------------------------------------------------------------------------------------------
function showWatch() {
  const found = [], slow = slowOf(state.servers), name = row => row.cluster + "/" + row.server;
  if (state.drained) found.push(["warn", "draining", "The whole proxy is drained: it is not ready, and connections end with their answers."]);
  for (const word of state.maintenance || []) found.push(["warn", "maintenance", `${word.cluster || "The whole proxy"}: ${word.why || "no reason given"}, by ${word.by}, ${ago(word.since)}`]);
  if (state.workers.length < state.worker_count) found.push(["bad", "workers", `${state.workers.length} of ${state.worker_count} workers run.`]);
  if (refused) found.push(["bad", "reload", `The last configuration was ${refused.result}: ${refused.problems[0] || "see below"}`]);
  for (const row of state.servers) {
    const rate = rates.get(keyOf(row)) || { errors: 0 };
    if (row.state === "down") found.push(["bad", "down", `${name(row)}: ${row.why || "no reason given"}, ${ago(row.since)}`]);
    else if (row.state === "drained") found.push(["warn", "drained", `${name(row)}: ${row.why || "no reason given"}; ${row.sessions} sessions, ${row.in_flight} in flight`]);
    else if (slow.has(keyOf(row))) found.push(["warn", "slow", `${name(row)}: ${ms(row.latency_ms)} until answers begin, the others ${ms(slow.get(keyOf(row)))}`]);
    else if (rate.errors > 0) found.push(["warn", "failing", `${name(row)}: ${number(rate.errors, 1)} failed tries a second`]);
    if (row.max_connections > 0 && row.in_flight >= row.max_connections) found.push(["bad", "full", `${name(row)}: ${row.in_flight} of ${row.max_connections} connections are taken`]);
  }
  if (!found.length) found.push(["good", "well", "No server is down, drained, slow or failing."]);
  if (found.length > 12) found.splice(11, Infinity, ["bad", "more", `and ${found.length - 11} more`]);
  const list = by("watch");
  while (list.children.length > found.length) list.lastChild.remove();
  found.forEach(([level, word, text], at) => {
    const item = list.children[at] || list.appendChild(make("li", "", make("span"), make("span")));
    kind(item, level); kind(item.firstChild, "pill " + level);
    put(item.firstChild, word); put(item.lastChild, text);
  });
}

// --- the ring of changes ---------------------------------------------------------------------------------------------
const KINDS = {
  marked_down: ["down", "is marked down"], still_down: ["down", "failed again", true], probed: ["note", "is tried again", true], up: ["up", "is up again"],
  probe_failed: ["down", "failed a probe", true], probe_ok: ["note", "answered a probe", true], drain_on: ["warn", "is drained"], drain_off: ["up", "is resumed"],
  down_on: ["down", "is taken down"], down_off: ["up", "is brought up"], numbers_set: ["note", "has other numbers"], mark_cleared: ["up", "has its mark taken back"],
  request_killed: ["note", "had a request ended"], log_level_set: ["note", "LogLevel set"], proxy_drain_on: ["warn", "The proxy is drained"], proxy_drain_off: ["up", "The proxy is resumed"],
  maintenance_on: ["warn", "Maintenance"], maintenance_off: ["up", "Maintenance is over"],
};
function wordsOf(change) {
  const words = (KINDS[change.kind] || ["note", change.kind])[1];
  if (change.kind.startsWith("maintenance_")) return `${words}: ${change.cluster || "the whole proxy"}`;
  return change.server ? `${change.cluster ? change.cluster + "/" : ""}${change.server} ${words}` : words;
}
function onChanges(more) {
  const isFirst = !since;
  if (changes.length && more[0].number <= changes.at(-1).number) changes = [];
  changes = [...changes, ...more].slice(-MOST_CHANGES);
  since = changes.at(-1).number;
  showChanges();
  if (isFirst) return;
  const told = more.filter(each => !(KINDS[each.kind] || [])[2]);
  if (told.length) put(by("news"), told.slice(-3).map(each => wordsOf(each) + (each.detail ? ": " + each.detail : "")).join(". "));
}
function showChanges() {
  const all = by("retries").checked, wanted = changes.filter(each => all || !(KINDS[each.kind] || [])[2]);
  const items = wanted.slice(-shownChanges).reverse().map(each => {
    const by_ = each.worker === -2 ? "seen by a probe" : each.worker === -3 ? "seen by another proxy" : each.worker < 0 ? "" : "seen by worker " + each.worker;
    return make("li", (KINDS[each.kind] || ["note"])[0], time(each.time), make("p", "", wordsOf(each)), make("p", "sub", [each.detail, each.request, by_].filter(Boolean).join(" · ")));
  });
  by("timeline").replaceChildren(...(items.length ? items : [make("li", "", make("p", "dim", "Nothing has changed since the start."))]));
  by("more-changes").hidden = wanted.length <= shownChanges;
}

// --- reloads ---------------------------------------------------------------------------------------------------------
const RESULTS = { "in use": "good", accepted: "good", unchanged: "", refused: "bad", failed: "bad" };
async function showHistory() {
  let found;
  try { found = await ask("/v1/history"); } catch (error) {
    by("history").replaceChildren(make("li", "dim", error.message));
    return;
  }
  const real = found.entries.filter(each => each.result !== "accepted" && each.result !== "unchanged");
  refused = real.length && ["refused", "failed"].includes(real.at(-1).result) ? real.at(-1) : null;
  const items = found.entries.slice().reverse().map(each => {
    const told = [...each.problems, ...each.changes, ...each.without_effect.map(text => text + " (needs a start)")];
    const title = each.returned_to ? "returned to generation " + each.returned_to : "generation " + each.generation;
    const list = told.length ? make("ul", "", ...told.slice(0, 8).map(text => make("li", "", text))) : null;
    if (told.length > 8) list.append(make("li", "dim", told.length - 8 + " more: wsproxy history"));
    return make("li", "", make("div", "row", make("span", "pill " + (RESULTS[each.result] || ""), each.result), make("b", "", title), make("span", "dim", each.who), time(each.time)), list);
  });
  by("history").replaceChildren(...(items.length ? items : [make("li", "dim", "None since the start.")]));
  if (state) showWatch();
}

// --- explain ---------------------------------------------------------------------------------------------------------
let typing = 0, asked = 0;
async function explain() {
  const url = by("url").value.trim();
  if (!url) return;
  const cookie = by("cookie").value.trim(), mine = asked += 1;
  const headers = cookie ? ["Cookie: " + (cookie.includes("=") ? cookie : "JSESSIONID=" + cookie)] : [];
  let found;
  try { found = (await ask("/v1/explain", { method: "GET", url: url.includes("://") ? url : "http://" + url, headers })).explanation; } catch (error) { found = error; }
  if (mine !== asked) return;  // another letter was typed meanwhile
  by("explained").replaceChildren(...(found instanceof Error ? [make("p", "wrong", found.message)] : explained(found)));
}
const VERDICTS = { usable: "good", wins: "good" };
function steps(title, items) {
  return items.length ? [make("div", "", make("h3", "", title), make("ul", "", ...items.map(([word, level, text]) => make("li", "", make("span", "pill " + level, word), make("span", "", text)))))] : [];
}
function explained(found) {
  const good = Boolean(found.server), verdict = make("div", good ? "verdict" : "verdict bad", make("b", "", good ? `${found.cluster}/${found.server}` : found.status ? String(found.status) : "nobody"), good ? " at " + found.transport : "", make("p", "", found.rule));
  return [verdict, make("div", "steps",
    ...steps("Routes, in the order of the file", found.routes.map(each => [each.outcome, VERDICTS[each.outcome] || "", `line ${each.line}: ${each.virtual_host_group || "any host"} and ${each.uri_group || "any path"} to ${each.cluster}: ${each.why}`])),
    ...steps("Clone ids of " + (found.affinity_cookie || "the cookie"), found.clone_ids.map(each => [each.clone_id, each.server ? "note" : "bad", `${each.server || "no server"}: ${each.outcome}`])),
    ...steps("Servers", found.servers.map(each => [each.name, each.name === found.server ? "good" : each.verdict === "usable" ? "" : "bad", `${each.verdict}, ${each.role}, ${each.in_flight} in flight`])),
    ...steps("Notes", found.notes.map(each => ["note", "warn", each])))];
}

// --- running requests ------------------------------------------------------------------------------------------------
let looking = 0;
async function look() {
  let found;
  try { found = await ask("/v1/requests"); } catch (error) { by("running").replaceChildren(make("p", "wrong", error.message)); return; }
  const silent = found.silent.length ? [make("p", "wrong", "These workers said nothing: " + found.silent.join(", "))] : [];
  if (!found.requests.length) { by("running").replaceChildren(make("p", "dim", "No request runs just now."), ...silent); return; }
  const head = make("tr", "", ...["Age", "Phase", "Server", "Request", "Client"].map(title => { const cell = make("th", "", title); cell.scope = "col"; return cell; }));
  const lines = found.requests.slice(0, 50).map(each => {
    const line = make("tr", "", ...[each.age_s < 0 ? "–" : each.age_s < 60 ? each.age_s.toFixed(1) + " s" : span(each.age_s), each.phase, each.server ? each.cluster + "/" + each.server : "–", each.request || "not kept", each.client].map(text => make("td", "", text)));
    line.title = "id " + each.id;
    return line;
  });
  const scroll = make("div", "scroll", make("table", "", make("caption", "sr", "Running requests, the oldest first"), make("thead", "", head), make("tbody", "", ...lines)));
  scroll.tabIndex = 0; scroll.setAttribute("role", "region"); scroll.setAttribute("aria-label", "Running requests, the oldest first");
  by("running").replaceChildren(scroll, make("p", "dim", `${found.total} at ${clock(new Date().toISOString())}` + (found.total > lines.length ? `, the oldest ${lines.length}` : "")), ...silent);
}
function keepLooking() {
  looking = looking ? clearInterval(looking) || 0 : setInterval(look, LOOK_AGAIN_MS);
  by("keep-looking").setAttribute("aria-pressed", String(Boolean(looking)));
  if (looking) look();
}

// --- words -----------------------------------------------------------------------------------------------------------
const WORDS = {
  drain: ["Keep requests from ", "", "Drain"], resume: ["Resume ", "It gets new sessions again.", "Resume"], up: ["Bring up ", "Requests go there again.", "Bring up"],
  set: ["Weight of ", "How many turns it gets beside the others; holds from the next request on.", "Set"],
  "drain-all": ["Drain the whole proxy", "Not ready any more; connections end with their answers. Tell the balancer's people.", "Drain"], "resume-all": ["Resume the whole proxy", "It is ready again.", "Resume"],
};
let word = null;
function openWord(row, verb) {
  const [title, what, act] = WORDS[verb], target = row ? row.cluster + "/" + row.server : "";
  word = { verb, target };
  put(by("word-title"), title + target);
  put(by("word-what"), what);
  by("word-what").hidden = !what;
  by("word-kinds").hidden = by("word-for").hidden = verb !== "drain";
  by("word-weight").hidden = verb !== "set";
  by("word-form").reset();
  by("weight").value = row ? row.weight : "";
  by("weight").dataset.file = row ? row.configured_weight : "";
  by("weight").required = verb === "set";
  put(by("word-do"), act);
  put(by("word-wrong"), "");
  by("word").showModal();
  (verb === "set" ? by("weight") : by("reason")).focus();
}
async function sayWord(event) {
  event.preventDefault();
  const { verb, target } = word, reason = by("reason").value.trim(), body = { reason };
  let path = "/v1/" + verb;
  if (target) body.target = target;
  if (verb === "drain") { path = "/v1/" + new FormData(by("word-form")).get("kind"); body.for_s = Number(by("for").value); }
  if (verb === "set") body.weight = by("weight").value === by("weight").dataset.file ? "file" : Number(by("weight").value);
  by("word-do").disabled = true;
  try {
    const answer = await ask(path, body), notes = (answer.results || []).map(each => each.note).concat(answer.warnings || []).filter(Boolean);
    by("word").close();
    toast(`Done: ${by("word-title").textContent}${notes.length ? ". " + notes.join(". ") : ""}`);
  } catch (error) { put(by("word-wrong"), error.message); } finally { by("word-do").disabled = false; }
}
let fading = 0;
function toast(text) {
  put(by("toast"), text); put(by("news"), text);
  by("toast").hidden = false;
  clearTimeout(fading);
  fading = setTimeout(() => { by("toast").hidden = true; }, 5000);
}

// --- theme, stream, start --------------------------------------------------------------------------------------------
const THEMES = ["auto", "light", "dark"];
function theme(next) {
  const wanted = THEMES.includes(next) ? next : "auto";
  localStorage.setItem("wsproxy-theme", wanted);
  if (wanted === "auto") delete document.documentElement.dataset.theme; else document.documentElement.dataset.theme = wanted;
  put(by("theme"), "Theme: " + wanted);
  takeInk(); drawHeat();
  if (state) showTiles();
}
function live(is, text) { kind(by("live"), "live " + (is ? "on" : "off")); put(by("live").lastElementChild, text); }
async function keepListening() {
  if (isListening) return;
  isListening = true;
  for (;;) {
    let why = "reconnecting";
    try {
      await listen("/v1/events?since=" + since, onEvent, () => live(true, "live"));
    } catch (error) {
      if (error instanceof Wrong && [401, 403].includes(error.status)) { isListening = false; wantToken(error); return; }
      if (error instanceof Wrong) why = error.message;
    }
    live(false, why);
    await new Promise(done => setTimeout(done, AGAIN_MS));
  }
}
function onEvent(name, data) {
  if (name === "state") {
    if (state && state.started_at !== data.started_at) { changes = []; since = 0; samples = []; }  // it was started anew
    onState(data);
  } else if (name === "changes") onChanges(data);
  else if (name === "columns") takeHeat(data).catch(() => {});
}
function wantToken(error) {
  const again = Boolean(by("token").value);
  by("all").hidden = true;
  by("ask-token").hidden = false;
  live(false, "no token");
  put(by("token-wrong"), again || error.status === 403 ? error.message : "");
  by("token").focus();
}

by("token-form").addEventListener("submit", event => { event.preventDefault(); takeToken(by("token").value.trim()); keepListening(); });
by("word-form").addEventListener("submit", sayWord);
by("word-cancel").addEventListener("click", () => by("word").close());
by("as-file").addEventListener("click", () => { by("weight").value = by("weight").dataset.file; });
by("drain-all").addEventListener("click", () => openWord(null, state.drained ? "resume-all" : "drain-all"));
by("theme").addEventListener("click", () => theme(THEMES[(THEMES.indexOf(localStorage.getItem("wsproxy-theme") || "auto") + 1) % 3]));
by("retries").addEventListener("change", showChanges);
by("more-changes").addEventListener("click", () => { shownChanges += 200; showChanges(); });
by("look").addEventListener("click", look);
by("keep-looking").addEventListener("click", keepLooking);
by("explain-form").addEventListener("submit", event => { event.preventDefault(); explain(); });
for (const each of [by("url"), by("cookie")]) each.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(explain, TYPING_MS); });
by("show-cookie").addEventListener("click", () => {
  const isShown = by("cookie").type === "text";
  by("cookie").type = isShown ? "password" : "text";
  put(by("show-cookie"), isShown ? "Show" : "Hide");
  by("show-cookie").setAttribute("aria-pressed", String(!isShown));
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => theme(localStorage.getItem("wsproxy-theme")));
begin(openWord);
theme(localStorage.getItem("wsproxy-theme"));
showChanges();
keepListening();
