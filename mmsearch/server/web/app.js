// The page: asks, shows the hits, keeps the address, listens for what is indexed meanwhile.

import { ICONS, call, drawn, fitness, make, shown, title } from "./api.js";
import { Detail } from "./detail.js";
import { Facets } from "./facets.js";
import { QueryBar } from "./query.js";

const PAGE = 30;
const AROUND = "a photo"; // nothing is asked for yet: a look around, as varied as can be
const $ = (selector) => document.querySelector(selector);
const grid = $("#grid"), more = $("#more"), problem = $("#problem");
const PLAIN = new Set(["title", "name", "description", "exif", "id", "sku", "image", "url"]);

const state = { hits: [], next: null, busy: false, kind: "image", grouped: false, status: null, stop: null };
const query = new QueryBar(() => ask());
const facets = new Facets(() => ask());
const detail = new Detail({
  query,
  paging,
  vote: (hit, list) => vote(hit, list),
  similar: (hit) => similar(hit),
  step: (by) => { const hit = state.hits[state.hits.findIndex((one) => one.id === detail.hit?.id) + by]; if (hit) detail.show(hit); },
});
query.onproblem = (text) => fail(new Error(text));

function paging() { return { kind: state.kind, ...(state.grouped ? { group_by: "group" } : {}) }; }

// --- asking ---

async function ask({ keep = false } = {}) {
  state.stop?.abort();
  state.stop = new AbortController();
  if (!keep) remember();
  state.next = 0;
  state.hits = [];
  ghosts();
  const signal = state.stop.signal;
  const counted = facets.update(paging()).catch((error) => error.name !== "AbortError" && fail(error));
  await load(signal);
  await counted;
}

async function load(signal = state.stop?.signal) {
  if (state.next === null || signal?.aborted) return;
  state.busy = true;
  grid.setAttribute("aria-busy", "true");
  const offset = state.next;
  const around = query.empty;
  const body = { ...(around ? { text: AROUND, diversity: 0.7, candidates: 200 } : { ...query.body(), explain: true, lexical: lexical() }),
    ...paging(), ...facets.where(), k: PAGE, offset };
  // relevance is calibrated for words that look for pictures, and for nothing else
  if (query.words && state.kind === "image" && body.terms.length === 1) body.relevance = true;
  try {
    const found = await call("/v1/search", body, signal);
    problem.hidden = true;
    if (!offset) grid.replaceChildren();
    for (const hit of found.hits) {
      if (around) { hit.looked = true; hit.relevance = null; hit.why = []; }
      grid.append(card(hit));
      state.hits.push(hit);
    }
    state.next = around && offset + PAGE >= 180 ? null : found.next;
    tell(found, around);
  } catch (error) {
    if (error.name === "AbortError") return;
    state.next = null;
    if (!offset) grid.replaceChildren();
    fail(error);
  } finally {
    if (!signal?.aborted) {
      state.busy = false;
      grid.removeAttribute("aria-busy");
      more.hidden = state.next === null;
      if (nearEnd() && state.next !== null && state.hits.length) load(signal);
    }
  }
}

// Words count as words too, less beside a picture, and not beside a "not": they would bring back what is not wanted.
function lexical() {
  if (!query.words || query.not.length || query.unlike.length) return 0;
  return query.picture || query.like.length ? 0.2 : 1;
}

function tell(found, around) {
  const shownSoFar = state.hits.length, all = found.candidates.toLocaleString("en");
  $("#title").textContent = around ? (facets.count ? "Everything that fits the filters" : "A look around") : query.describe();
  const what = state.kind === "text" ? "texts" : "pictures";
  const ms = Object.values(found.timings).reduce((sum, one) => sum + one, 0);
  $("#summary").textContent = around ? `${all} ${what}` : `${all} ${what} compared${found.exact ? "" : " (by an index)"} in ${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms, the nearest first`;
  document.title = around ? "mmsearch" : `${query.describe()} – mmsearch`;
  $("#spoken").textContent = shownSoFar ? `${shownSoFar} hits shown${state.next === null ? ", these are all" : ""}` : "Nothing found";
  if (!shownSoFar) grid.append(make("li", { class: "nothing" }, make("strong", { text: "Nothing found" }), make("span", { class: "quiet", text: facets.count ? "Take a filter away, or ask for something else." : "Ask for something else." })));
}

function fail(error) {
  problem.textContent = error.message;
  problem.hidden = false;
  if (!state.hits.length) { $("#title").textContent = "That did not work"; $("#summary").textContent = ""; }
}

function similar(hit) {
  query.reset();
  query.vote(brief(hit), "like");
  scrollTo({ top: 0 });
  ask();
}

const brief = (hit) => ({ id: hit.id, name: title(hit).slice(0, 40), thumb: hit.thumb ? `${hit.thumb}?size=128` : null });

function vote(hit, list) {
  query.vote(brief(hit), list);
  detail.buttons();
  for (const element of grid.children) paintVotes(element);
  if (!detail.open) ask();
  else state.stale = true;
}
$("#detail").addEventListener("close", () => {
  if (state.stale) { state.stale = false; ask(); }
  else if (state.at) grid.querySelector(`[data-id="${CSS.escape(state.at)}"] .open`)?.focus();
});

// --- cards: their size is known before their picture is ---

function card(hit) {
  const name = title(hit), fit = fitness(hit);
  const shot = make("span", { class: `shot ${hit.kind === "text" ? "words" : ""}` });
  if (hit.thumb) {
    const image = make("img", { alt: "", width: 256, height: 256, decoding: "async", loading: state.hits.length < 12 ? "eager" : "lazy" });
    image.addEventListener("load", () => image.classList.add("there"));
    image.addEventListener("error", () => { shot.classList.add("lost"); image.remove(); });
    image.src = `${hit.thumb}?size=256`;
    shot.append(image);
  } else shot.textContent = hit.text ?? "";
  const meter = fit ? make("i") : null;
  if (meter) meter.style.width = `${Math.round(fit.share * 100)}%`;
  const open = make("button", { type: "button", class: "open", tabindex: state.hits.length ? -1 : 0, onclick: () => { state.at = hit.id; detail.show(hit); } }, shot,
    make("span", { class: "about" }, make("span", { class: "name", text: name, title: name }), make("span", { class: "facts", text: facts(hit) }),
      make("span", { class: `fit ${fit?.name ?? ""}` }, ...(fit ? [make("span", { class: "meter", "aria-hidden": "true" }, meter), make("span", { text: fit.label })] : [make("span", { text: hit.looked ? "" : `cosine ${hit.score.toFixed(3)}` })]),
        typeof hit.meta?.price === "number" ? make("span", { class: "price", text: hit.meta.price.toLocaleString("en", { minimumFractionDigits: Number.isInteger(hit.meta.price) ? 0 : 2 }) }) : null)));
  const button = (list, label) => make("button", { type: "button", class: list === "unlike" ? "un" : "", tabindex: -1, "aria-label": `${label} ${name}`, title: label, "data-list": list, onclick: () => vote(hit, list) }, drawn(...ICONS[list]));
  const element = make("li", { class: "card", "data-id": hit.id }, open, make("div", { class: "votes" }, button("like", "More like"), button("unlike", "Less like")));
  paintVotes(element);
  return element;
}

function facts(hit) {
  const few = Object.entries(hit.meta ?? {}).filter(([name, value]) => !PLAIN.has(name) && name !== "price" && ["string", "number"].includes(typeof value) && String(value).length < 28);
  return few.slice(0, 3).map(([, value]) => shown(value)).join(" · ");
}

function paintVotes(element) {
  const voted = query.voted(element.dataset?.id);
  for (const button of element.querySelectorAll(".votes button")) button.setAttribute("aria-pressed", String(button.dataset.list === voted));
  element.querySelector(".votes")?.classList.toggle("kept", Boolean(voted));
}

function ghosts() {
  const ghost = () => make("li", { class: "card ghost", "aria-hidden": "true" }, make("div", { class: "shot" }), make("div", { class: "about" }));
  grid.replaceChildren(...Array.from({ length: 12 }, ghost));
}

const nearEnd = () => $("#end").getBoundingClientRect().top < innerHeight + 900;
new IntersectionObserver(() => { if (!state.busy && state.hits.length) load(); }, { rootMargin: "900px" }).observe($("#end"));
more.addEventListener("click", () => load());

// --- keys: one hit is in the tab order, arrows go on from there ---

grid.addEventListener("focusin", (event) => {
  const mine = event.target.closest(".card")?.querySelector(".open");
  if (!mine) return;
  for (const one of grid.querySelectorAll(".open")) one.tabIndex = one === mine ? 0 : -1;
});
grid.addEventListener("keydown", (event) => {
  const cards = [...grid.children], at = cards.indexOf(event.target.closest(".card"));
  if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
  const columns = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -at, End: cards.length - 1 - at }[event.key];
  if (step !== undefined) { event.preventDefault(); cards[Math.min(cards.length - 1, Math.max(0, at + step))]?.querySelector(".open")?.focus(); return; }
  const hit = state.hits[at];
  const does = { l: () => vote(hit, "like"), u: () => vote(hit, "unlike"), s: () => similar(hit) }[event.key.toLowerCase()];
  if (hit && does) { event.preventDefault(); does(); }
});
addEventListener("keydown", (event) => {
  if (event.target.matches("input, textarea") || document.querySelector("dialog[open]") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") { event.preventDefault(); $("#words").focus(); $("#words").select(); }
  if (event.key === "?") $("#help").showModal();
});
$("#keys").addEventListener("click", () => $("#help").showModal());

// --- around it: kinds, the sheet of filters, the scheme, the address, progress ---

$("#kinds").addEventListener("change", (event) => { state.kind = event.target.value; ask(); });

function sheet(show) {
  $("#filters").classList.toggle("shown", show);
  $("#filters-open").setAttribute("aria-expanded", String(show));
  (show ? $("#filters-close") : $("#filters-open")).focus();
}
$("#filters-open").addEventListener("click", () => sheet(!$("#filters").classList.contains("shown")));
$("#filters-close").addEventListener("click", () => sheet(false));
$("#filters").addEventListener("keydown", (event) => { if (event.key === "Escape") sheet(false); });

const scheme = localStorage.getItem("scheme");
if (scheme) document.documentElement.dataset.theme = scheme;
$("#theme").addEventListener("click", () => {
  const dark = (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("scheme", document.documentElement.dataset.theme);
});

// Behind the #, so that the server never sees it; a picture is too large for an address.
function remember() {
  const parts = new URLSearchParams();
  if (query.words) parts.set("q", query.words);
  for (const text of query.not) parts.append("not", text);
  for (const list of ["like", "unlike"]) for (const one of query[list]) parts.append(list, JSON.stringify(one));
  if (facets.count) parts.set("f", facets.save());
  if (state.kind !== "image") parts.set("kind", state.kind);
  const hash = parts.size ? `#${parts}` : "#";
  if (hash !== (location.hash || "#")) history.pushState(null, "", hash);
}

function recall() {
  const parts = new URLSearchParams(location.hash.slice(1));
  query.reset();
  query.words = parts.get("q") ?? "";
  query.not = parts.getAll("not");
  for (const list of ["like", "unlike"]) query[list] = parts.getAll(list).flatMap((text) => { try { return [JSON.parse(text)]; } catch { return []; } });
  facets.load(parts.get("f"));
  state.kind = parts.get("kind") === "text" ? "text" : "image";
  for (const input of document.querySelectorAll("[name=kind]")) input.checked = input.value === state.kind;
  query.show();
}
addEventListener("popstate", () => { recall(); ask({ keep: true }); });
$(".brand").addEventListener("click", (event) => { event.preventDefault(); query.reset(); facets.chosen.clear(); ask(); scrollTo({ top: 0 }); });

function progress(status) {
  const pill = $("#progress"), items = status.images + status.texts;
  const rate = status.writing && status.rate ? `, ${Math.round(status.rate).toLocaleString("en")}/s` : "";
  const text = `${status.writing ? "indexing: " : ""}${items.toLocaleString("en")} items${rate}`;
  if (pill.textContent !== text) pill.textContent = text;
  pill.classList.toggle("busy", Boolean(status.writing));
  $("#kinds").hidden = !(status.images && status.texts);
}

async function begin() {
  try {
    state.status = await call("/v1/status");
    progress(state.status);
    if (!state.status.images) state.kind = "text";
    const first = await call(`/v1/facets?field=group&limit=1&kind=${state.kind}`);
    state.grouped = (first.facets[0]?.values[0]?.count ?? 0) > 0 && first.facets[0].missing === 0;
    recall();
    if (!state.status.images) state.kind = "text";
    await facets.begin(state.status, paging());
    await ask({ keep: true });
  } catch (error) { fail(error); }
  const events = new EventSource("/v1/status/events");
  events.addEventListener("status", (event) => progress(JSON.parse(event.data)));
  addEventListener("pagehide", () => events.close());
}
begin();
