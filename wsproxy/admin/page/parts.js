// What all parts of the page use: elements, numbers in words, questions to the proxy, and what is drawn on a canvas.
export const by = id => document.getElementById(id);

export function make(tag, kind, ...inside) {
  const element = document.createElement(tag);
  if (kind) element.className = kind;
  element.append(...inside.filter(each => each !== null && each !== undefined));
  return element;
}

// Only what is otherwise is written: a screen reader, a selection and the keyboard's place stay where they are.
export function put(element, text) { if (element.textContent !== text) element.textContent = text; }
export function kind(element, name) { if (element.className !== name) element.className = name; }

export function number(value, digits = 0) {
  if (value >= 100000) return new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(value);
  return new Intl.NumberFormat("en", { maximumFractionDigits: value >= 100 ? 0 : digits }).format(value);
}
export function ms(value) {
  if (value < 0) return "–";
  return value >= 1000 ? number(value / 1000, 1) + " s" : number(value, value < 10 ? 1 : 0) + " ms";
}
export function span(seconds) {
  if (seconds < 60) return Math.max(Math.round(seconds), 0) + " s";
  if (seconds < 3600) return Math.round(seconds / 60) + " min";
  if (seconds < 172800) return number(seconds / 3600, 1) + " h";
  return number(seconds / 86400, 1) + " days";
}
export function ago(iso) { return span((Date.now() - Date.parse(iso)) / 1000) + " ago"; }
export function clock(iso) {
  const at = new Date(iso), text = at.toLocaleTimeString("en-GB");
  return at.toDateString() === new Date().toDateString() ? text : at.toLocaleDateString("en-GB", { day: "numeric", month: "short" }) + " " + text;
}
export function time(iso) {
  const element = make("time", "", clock(iso));
  element.dateTime = iso;
  element.title = new Date(iso).toISOString();
  return element;
}

// --- questions -------------------------------------------------------------------------------------------------------
export class Wrong extends Error { constructor(text, status) { super(text); this.status = status; } }
// Beside the Unix socket no token is needed. It comes in the fragment, which no browser sends to anybody, and stays in this tab.
const KEY = "wsproxy-token";
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  sessionStorage.setItem(KEY, given);
  history.replaceState(null, "", location.pathname);
}
export function takeToken(text) { sessionStorage.setItem(KEY, text); }
// In a field, never in a cookie: no other site's page can make a browser send it.
export function fields() {
  const token = sessionStorage.getItem(KEY);
  return token ? { Authorization: "Bearer " + token } : {};
}
export async function ask(path, body) {
  const options = { headers: fields(), cache: "no-store", credentials: "omit" };
  if (body !== undefined) {
    options.method = "POST";
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  const answer = await fetch(path, options);
  const found = await answer.json();
  if (!answer.ok) throw new Wrong(found.error || answer.statusText, answer.status);
  return found;
}
// EventSource cannot send a field, so the stream is read here; ends when the proxy ends it.
export async function listen(path, onEvent, onOpen) {
  const answer = await fetch(path, { headers: fields(), cache: "no-store", credentials: "omit" });
  if (!answer.ok) throw new Wrong((await answer.json()).error, answer.status);
  onOpen();
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let kept = ""; ;) {
    const { done, value } = await reader.read();
    if (done) return;
    const events = (kept + value).split("\n\n");
    kept = events.pop();
    for (const each of events) {
      const name = /^event: (.*)$/m.exec(each), data = /^data: (.*)$/m.exec(each);
      if (name && data) onEvent(name[1], JSON.parse(data[1]));
    }
  }
}

// --- drawing ---------------------------------------------------------------------------------------------------------
const ink = {};
let ramp = [];
export function takeInk() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["heat-0", "heat-1", "heat-2", "heat-3", "heat-bad", "ink"]) ink[name] = style.getPropertyValue("--" + name).trim();
  ramp = ["heat-1", "heat-2", "heat-3"].map(name => (ink[name].match(/[\d.]+/g) || []).slice(0, 3).map(Number));
}
function warmth(value) {
  const place = Math.min(Math.max(value, 0), 1) * (ramp.length - 1), low = Math.min(Math.floor(place), ramp.length - 2), part = place - low;
  return "rgb(" + ramp[low].map((from, at) => Math.round(from + part * (ramp[low + 1][at] - from))).join() + ")";
}
function sheet(canvas) {
  const scale = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width) return null;
  if (canvas.width !== Math.round(width * scale)) { canvas.width = Math.round(width * scale); canvas.height = Math.round(height * scale); }
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  return { pen, width, height };
}
export function spark(canvas, values, most) {
  const on = sheet(canvas);
  if (!on || values.length < 2) return;
  const { pen, width, height } = on, top = Math.max(...values, 1e-9), step = width / (most - 1);
  const x = at => width - (values.length - 1 - at) * step, y = value => height - 2 - (height - 8) * value / top;
  pen.beginPath();
  values.forEach((value, at) => at ? pen.lineTo(x(at), y(value)) : pen.moveTo(x(at), y(value)));
  pen.strokeStyle = ink.ink; pen.lineWidth = 1.6; pen.lineJoin = "round"; pen.stroke();
  pen.lineTo(width, height); pen.lineTo(x(0), height); pen.closePath();
  const fill = pen.createLinearGradient(0, 0, 0, height);
  fill.addColorStop(0, ink.ink); fill.addColorStop(1, "transparent");
  pen.globalAlpha = .22; pen.fillStyle = fill; pen.fill(); pen.globalAlpha = 1;
}
export const CELL = 6;
// Cells from the right, the newest last; a value is 0 to 1, or -1 where there is none. A mark below: requests failed.
export function cells(canvas, values, marks, isBad) {
  const on = sheet(canvas);
  if (!on) return;
  const { pen, width, height } = on, count = Math.floor(width / CELL);
  for (let place = 0; place < count; place += 1) {
    const at = values.length - count + place, value = at < 0 ? -1 : values[at], left = width - (count - place) * CELL;
    pen.globalAlpha = at < 0 ? .55 : 1;
    pen.fillStyle = ink["heat-0"];
    pen.beginPath(); pen.roundRect(left, 0, CELL - 1.5, height - 6, 2); pen.fill();
    if (value > 0) {
      pen.globalAlpha = isBad ? .35 + .65 * value : 1;
      pen.fillStyle = isBad ? ink["heat-bad"] : warmth(value);
      pen.beginPath(); pen.roundRect(left, 0, CELL - 1.5, height - 6, 2); pen.fill();
    }
    if (at >= 0 && marks[at]) { pen.globalAlpha = 1; pen.fillStyle = ink["heat-bad"]; pen.beginPath(); pen.roundRect(left, height - 4, CELL - 1.5, 3, 1); pen.fill(); }
  }
  pen.globalAlpha = 1;
}
