// Clusters and servers: rows that are made once and then only changed, and the heat of the last hours beside them.
import { ago, ask, by, CELL, cells, kind, make, ms, number, put, span } from "/dashboard-parts.js";

const KEY = "\n";  // in no name
const MOST_OPEN = 8;  // clusters; more begin closed, so that a large configuration is quick to draw
const SLOW_TIMES = 2, SLOW_MS = 20, SLOW_ANSWERS = 20;
const LABELS = { up: "up", drained: "drained", down: "down" };

export const keyOf = row => row.cluster + KEY + row.server;
let rows = new Map(), shape = "", onAct = () => {};
const clusters = new Map();
// The proxy's columns, by server; in one array a kind.
const heat = { pid: 0, last: 0, step_s: 30, most: 360, servers: new Map() };

export function begin(act) {
  onAct = act;
  by("filter").addEventListener("input", filter);
  by("heat-of").addEventListener("change", drawHeat);
  new ResizeObserver(drawHeat).observe(by("clusters"));
}

// --- who is slow -----------------------------------------------------------------------------------------------------
// Twice the others' middle and 20 ms more: among three fast servers one is always the slowest.
export function slowOf(servers) {
  const found = new Map(), groups = Map.groupBy ? Map.groupBy(servers, row => row.cluster) : grouped(servers);
  for (const group of groups.values()) {
    const timed = group.filter(row => row.state === "up" && row.answers >= SLOW_ANSWERS && row.latency_ms >= 0);
    for (const row of timed) {
      const others = timed.filter(each => each !== row).map(each => each.latency_ms).sort((a, b) => a - b);
      if (!others.length) continue;
      const middle = others[Math.floor((others.length - 1) / 2)];
      if (row.latency_ms > SLOW_TIMES * middle && row.latency_ms > middle + SLOW_MS) found.set(keyOf(row), middle);
    }
  }
  return found;
}
function grouped(servers) {
  const groups = new Map();
  for (const row of servers) groups.set(row.cluster, [...(groups.get(row.cluster) || []), row]);
  return groups;
}

// --- rows ------------------------------------------------------------------------------------------------------------
export function show(servers, rates) {
  const now = servers.map(keyOf).join("\n\n");
  if (now !== shape) { build(servers); shape = now; }
  const slow = slowOf(servers), sums = new Map();
  for (const row of servers) {
    const rate = rates.get(keyOf(row)) || { requests: 0, errors: 0 };
    const sum = sums.get(row.cluster) || { up: 0, all: 0, rate: 0, flight: 0 };
    sum.up += row.state === "up"; sum.all += 1; sum.rate += rate.requests; sum.flight += row.in_flight;
    sums.set(row.cluster, sum);
    rows.get(keyOf(row)).update(row, rate, slow.get(keyOf(row)));
  }
  for (const [name, sum] of sums) {
    const parts = clusters.get(name);
    put(parts.pill, sum.up + " of " + sum.all + " up");
    kind(parts.pill, "pill " + (sum.up === sum.all ? "good" : sum.up ? "warn" : "bad"));
    put(parts.sum, number(sum.rate, 1) + " requests/s, " + number(sum.flight) + " in flight");
  }
}

function build(servers) {
  rows = new Map();
  clusters.clear();
  const groups = grouped(servers), made = [];
  for (const [name, group] of groups) {
    const body = make("tbody"), pill = make("span", "pill"), sum = make("span", "sum");
    for (const row of group) {
      if (rows.has(keyOf(row))) continue;
      const built = makeRow(row);
      rows.set(keyOf(row), built);
      body.append(built.element);
    }
    const titles = [["Server", "c-server"], ["State", "c-state"], ["Load", "c-load"], ["Share", "c-share"], ["Latency", "c-latency"], ["Errors", "c-errors"], ["Weight", "c-weight"], ["Heat", "c-heat"], ["", "c-do"]];
    const head = make("tr", "", ...titles.map(([title, of]) => {
      const cell = make("th", of, title || make("span", "sr", "What to do"));
      cell.scope = "col";
      return cell;
    }));
    const element = make("details", "cluster", make("summary", "", make("h3", "", name), pill, sum), make("table", "", make("caption", "sr", "Servers of " + name), make("thead", "", head), body));
    element.open = groups.size <= MOST_OPEN || group.some(row => row.state !== "up");
    element.addEventListener("toggle", drawHeat);
    clusters.set(name, { element, pill, sum, names: [name, ...group.map(row => row.server)].join(" ").toLowerCase() });
    made.push(element);
  }
  by("clusters").className = groups.size > MOST_OPEN ? "dense" : "";
  by("clusters").replaceChildren(...made);
  filter();
  drawHeat();
}

function filter() {
  const wanted = by("filter").value.trim().toLowerCase();
  for (const { element, names } of clusters.values()) {
    element.hidden = !names.includes(wanted);
    if (wanted && !element.hidden) element.open = true;
  }
}

function cell(of, title, ...inside) {
  const element = make("td", of, ...inside);
  if (title) element.dataset.of = title;
  return element;
}

function makeRow(first) {
  const name = make("span", "name", first.server), where = make("span", "sub"), clone = make("span", "sub"), pill = make("span", "pill"), why = make("span", "sub");
  const load = make("span", "num"), flight = make("span", "sub"), bar = make("div", "bar", make("i"));
  const share = make("span", "num"), kinds = make("span", "sub"), split = make("div", "bar", make("i"), make("i", "turn"));
  const latency = make("span", "num"), slow = make("span", "sub"), errors = make("span", "num"), recent = make("span", "sub");
  const weight = make("span", "num"), weights = make("span", "sub"), canvas = make("canvas", "heat"), told = make("span", "sr");
  const hold = make("button", "quiet"), set = make("button", "quiet", "Weight");
  hold.type = set.type = "button";
  set.setAttribute("aria-label", "Weight of " + first.server);
  let now = first;
  hold.addEventListener("click", () => onAct(now, verbOf(now)));
  set.addEventListener("click", () => onAct(now, "set"));
  const title = make("th", "", name, where, clone);
  title.scope = "row";
  canvas.setAttribute("aria-hidden", "true");
  const element = make("tr", "", title, cell("t-state", "", pill, why), cell("", "Load", load, bar, flight), cell("", "Share", share, split, kinds), cell("", "Latency", latency, slow),
    cell("", "Errors", errors, recent), cell("", "Weight", weight, weights), cell("wide", "Heat", canvas, told), cell("wide", "", make("div", "do", hold, set)));
  function update(row, rate, others) {
    now = row;
    put(where, row.address);
    put(clone, [row.role === "primary" ? "" : row.role, row.clone_id && "clone id " + row.clone_id].filter(Boolean).join(", "));
    kind(element, "is-" + row.state);
    kind(pill, "pill " + row.state);
    put(pill, LABELS[row.state]);
    const until = row.until ? ", until " + new Date(row.until).toLocaleTimeString("en-GB") : "";
    const again = row.marked_down && row.retry_in_s > 0 ? ", tried again in " + Math.ceil(row.retry_in_s) + " s" : "";
    put(why, row.state === "up" ? "for " + ago(row.since).replace(" ago", "") : [row.why || "no reason given", row.by && "by " + row.by, ago(row.since)].filter(Boolean).join(", ") + until + again);
    put(load, number(rate.requests, 1) + "/s");
    const limit = row.max_connections > 0 ? row.max_connections : 0, part = limit ? Math.min(row.in_flight / limit, 1) : 0;
    kind(bar, part >= 1 ? "bar full" : "bar");
    bar.hidden = !limit;
    bar.firstChild.style.width = 100 * part + "%";
    put(flight, row.in_flight + (limit ? " of " + number(limit) : "") + " in flight");
    put(share, number(100 * row.share) + "%");
    const bound = row.requests ? row.by_affinity / row.requests : 0;
    split.firstChild.style.width = 100 * row.share * bound + "%";
    split.lastChild.style.width = 100 * row.share * (1 - bound) + "%";
    put(kinds, row.requests ? number(100 * bound) + "% by affinity, " + number(row.sessions) + " sessions" : "no request yet");
    put(latency, ms(row.latency_ms));
    put(slow, others === undefined ? "" : "slow: others " + ms(others));
    kind(slow, others === undefined ? "sub" : "sub bads");
    put(errors, number(row.errors));
    kind(errors, rate.errors > 0 ? "num bads" : "num");
    put(recent, rate.errors > 0 ? number(rate.errors, 1) + "/s now" : "");
    put(weight, number(row.weight));
    put(weights, [row.weight === row.configured_weight ? "" : "file: " + row.configured_weight, row.full_weight_in_s > 0 ? "now " + number(row.weight_now, 1) : "", row.set_why].filter(Boolean).join(", "));
    const verb = verbOf(row);
    put(hold, { drain: "Drain", resume: "Resume", up: "Bring up" }[verb]);
    if (hold.dataset.verb !== verb) { hold.dataset.verb = verb; hold.setAttribute("aria-label", hold.textContent + " " + row.server); }
  }
  return { element, canvas, told, update };
}
function verbOf(row) { return row.hold === "drain" ? "resume" : row.hold === "down" ? "up" : "drain"; }

// --- heat ------------------------------------------------------------------------------------------------------------
export async function takeHeat({ pid, last }) {
  if (pid !== heat.pid) { heat.pid = pid; heat.last = 0; heat.servers.clear(); }  // it has begun anew
  if (last === heat.last && heat.last) return;
  const found = await ask("/v1/heat?since=" + heat.last);
  if (found.pid !== heat.pid || found.last <= heat.last && heat.last) return;  // the next event says so; or it came twice
  const gone = new Set(heat.servers.keys());
  for (const each of found.servers) {
    const key = keyOf(each), before = heat.servers.get(key) || { requests: [], errors: [], latency_ms: [] };
    gone.delete(key);
    for (const of of ["requests", "errors", "latency_ms"]) before[of] = [...before[of], ...each[of]].slice(-found.most_columns);
    heat.servers.set(key, before);
  }
  for (const key of gone) heat.servers.delete(key);
  heat.last = found.last; heat.step_s = found.step_s; heat.leftOut = found.left_out;
  drawHeat();
}

export function drawHeat() {
  const of = document.querySelector("input[name=heat]:checked").value, isBad = of === "errors";
  let most = 0, columns = 0, shown = null;
  const drawn = [];
  for (const each of heat.servers.values()) columns = Math.max(columns, each.requests.length);
  for (const [key, row] of rows) {
    const found = heat.servers.get(key) || { requests: [], errors: [], latency_ms: [] }, count = Math.floor(row.canvas.clientWidth / CELL);
    if (!count) continue;
    // As many columns a cell as show all that there is.
    const size = Math.max(1, Math.ceil(columns / count)), values = pooled(found[of], size, of === "latency_ms" ? "mean" : "sum");
    shown = count * size;
    most = Math.max(most, ...values);
    drawn.push({ row, values, marks: pooled(found.errors, size, "sum").map(value => value > 0) });
  }
  // Latencies differ by powers of ten, so their steps are of the logarithm: the palest is an eighth of the highest, or less.
  const level = value => value < 0 ? -1 : most <= 0 ? 0 : of === "latency_ms" ? Math.max(.02, 1 + Math.log2(Math.max(value, .001) / most) / 3) : value / most;
  for (const { row, values, marks } of drawn) {
    cells(row.canvas, values.map(level), isBad ? [] : marks, isBad);
    const real = values.filter(value => value >= 0), words = of === "latency_ms" ? ms : number;
    const text = real.length ? `lowest ${words(Math.min(...real))}, highest ${words(Math.max(...real))}, last ${words(real.at(-1))}` : "nothing yet";
    row.canvas.title = text;
    put(row.told, text);
  }
  legend(of, most, shown, columns);
}

// From the newest backwards, so that the last cell is always full.
function pooled(values, size, how) {
  const found = [];
  for (let end = values.length; end > 0; end -= size) {
    const some = values.slice(Math.max(end - size, 0), end).filter(value => value >= 0), sum = some.reduce((a, b) => a + b, 0);
    found.unshift(!some.length ? -1 : how === "sum" ? sum : sum / some.length);
  }
  return found;
}

function legend(of, most, shown, columns) {
  const box = (...kinds) => kinds.map(each => make("i", each));
  const highest = of === "latency_ms" ? ms(most) : number(most);
  const words = { latency_ms: "mean time until answers began", errors: "tries that failed", requests: "requests" }[of];
  by("legend").replaceChildren(
    make("span", "", "Heat: " + words + ", the newest at the right; " + (columns ? span(Math.min(columns, shown || columns) * heat.step_s) + " so far, 3 hours at most" : "its first cell comes within a minute")),
    make("span", "", "none ", ...(of === "errors" ? box("h0", "hb") : box("h0", "h1", "h2", "h3")), " " + (most > 0 ? highest : "most")),
    of === "errors" ? "" : make("span", "", ...box("hb"), " tries failed"),
    make("span", "", make("i", "bar-affinity"), "share: strong by affinity, pale by turn"),
    heat.leftOut ? make("span", "", heat.leftOut + " more servers have no heat") : "");
}
