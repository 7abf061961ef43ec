// The collection's own fields as filters, with counts. A field's counts leave its own choice out, so that others can be added.

import { call, make, shown } from "./api.js";

const HIDDEN = new Set(["id", "kind", "group", "root", "path", "text", "size", "width", "height", "mtime", "taken", "title", "name", "description"]);
const MOST_FIELDS = 9, FIRST_VALUES = 6;
const COLOURS = new Set("red orange yellow green cyan blue purple pink brown black gray grey white gold silver navy teal beige olive maroon violet turquoise".split(" "));

export class Facets {
  constructor(changed) {
    this.changed = changed;
    this.fields = [];
    this.chosen = new Map(); // field -> Map(key -> value)
    this.opened = new Set();
    this.place = document.querySelector("#facets");
    this.clear = document.querySelector("#clear");
    this.clear.addEventListener("click", () => { this.chosen.clear(); this.changed(); });
  }

  // Only fields whose values come back: a name that each item has for itself filters nothing.
  async begin(status, paging) {
    const names = Object.keys(status.fields).filter((name) => !HIDDEN.has(name) && !name.startsWith("exif"));
    if (!names.length) return;
    const found = await call(address(names.slice(0, 16), paging));
    this.fields = found.facets.filter(worth).slice(0, MOST_FIELDS).map((facet) => facet.field);
    this.all = new Map(found.facets.map((facet) => [facet.field, facet]));
  }

  // The condition, as bound parameters: no value is ever pasted into it.
  where(without = null) {
    const parts = [], params = {};
    for (const [field, values] of this.chosen) {
      if (field === without || !values.size) continue;
      const name = `"${field}"`.replaceAll(".", '"."');
      const either = [...values.values()].map((value) => {
        const at = Object.keys(params).length;
        if (value.low !== null) {
          params[`p${at}`] = value.low;
          params[`p${at + 1}`] = value.high;
          return `(${name} >= :p${at} and ${name} ${value.last ? "<=" : "<"} :p${at + 1})`;
        }
        params[`p${at}`] = value.value;
        return `${name} = :p${at}`;
      });
      parts.push(`(${either.join(" or ")})`);
    }
    return parts.length ? { where: parts.join(" and "), params } : {};
  }

  get count() { return [...this.chosen.values()].reduce((sum, values) => sum + values.size, 0); }

  async update(paging) {
    if (!this.fields.length) return;
    const own = this.fields.filter((field) => this.chosen.get(field)?.size);
    const others = this.fields.filter((field) => !own.includes(field));
    const asked = [others.length ? call(address(others, { ...paging, ...this.where() })) : { facets: [] },
      ...own.map((field) => call(address([field], { ...paging, ...this.where(field) })))];
    const found = new Map((await Promise.all(asked)).flatMap((one) => one.facets).map((facet) => [facet.field, facet]));
    this.show(found);
  }

  show(found) {
    this.clear.hidden = !this.count;
    const had = document.activeElement?.dataset?.key;
    this.place.replaceChildren(...this.fields.map((field) => this.#facet(field, found.get(field))));
    if (had) this.place.querySelector(`[data-key="${CSS.escape(had)}"]`)?.focus();
  }

  #facet(field, facet) {
    // in the order of the whole collection, so that nothing jumps when a filter changes the counts
    const now = new Map((facet?.values ?? []).map((value) => [key(value), value]));
    const first = this.all.get(field);
    const ranges = (facet?.values ?? []).some((value) => value.low !== null);
    const values = ranges ? [...now.values()] : [...first.values.filter((value) => value.low === null).map((value) => now.get(key(value)) ?? { ...value, count: 0 }),
      ...[...now.values()].filter((value) => !first.values.some((one) => key(one) === key(value)))];
    const chosen = this.chosen.get(field) ?? new Map();
    for (const value of chosen.values()) if (!values.some((one) => key(one) === key(value))) values.push({ ...value, count: 0 });
    const list = make("ul", {}, ...values.map((value, at) => this.#value(field, value, chosen, at, values.length)));
    const box = make("section", { class: `facet${this.opened.has(field) ? " open" : ""}` }, make("h3", { text: field.replaceAll(/[._]/g, " ") }), list);
    if (values.length > FIRST_VALUES + 1) {
      const label = () => (this.opened.has(field) ? "Fewer" : `${values.length - FIRST_VALUES} more`);
      const button = make("button", { type: "button", class: "link", text: label(), "aria-expanded": String(this.opened.has(field)), onclick: () => {
        this.opened.has(field) ? this.opened.delete(field) : this.opened.add(field);
        box.classList.toggle("open");
        button.textContent = label();
        button.setAttribute("aria-expanded", String(this.opened.has(field)));
      } });
      box.append(button);
    }
    return box;
  }

  #value(field, value, chosen, at, many) {
    const name = value.low === null || value.low === undefined ? shown(value.value) : `${shown(value.low)} – ${shown(value.high)}`;
    const input = make("input", { type: "checkbox", checked: chosen.has(key(value)), "data-key": `${field}/${key(value)}`, onchange: () => {
      if (input.checked) chosen.set(key(value), { value: value.value ?? null, low: value.low ?? null, high: value.high ?? null, last: at === many - 1 });
      else chosen.delete(key(value));
      this.chosen.set(field, chosen);
      this.changed();
    } });
    const swatch = COLOURS.has(name.toLowerCase()) && /colou?r/i.test(field) ? make("span", { class: "swatch", "aria-hidden": "true" }) : null;
    if (swatch) swatch.style.background = name.toLowerCase();
    const later = at >= FIRST_VALUES && many > FIRST_VALUES + 1 && !chosen.has(key(value));
    return make("li", { class: `${later ? "later" : ""} ${value.count ? "" : "none"}` },
      make("label", {}, input, swatch, make("span", { class: "name", text: name, title: name }), make("span", { class: "count", text: value.count.toLocaleString("en") })));
  }

  save() { return JSON.stringify([...this.chosen].filter(([, values]) => values.size).map(([field, values]) => [field, [...values.values()]])); }

  load(text) {
    this.chosen.clear();
    try {
      for (const [field, values] of JSON.parse(text || "[]")) this.chosen.set(field, new Map(values.map((value) => [key(value), value])));
    } catch { this.chosen.clear(); }
  }
}

const key = (value) => (value.low === null || value.low === undefined ? JSON.stringify(value.value) : `${value.low}…${value.high}`);

function worth(facet) {
  if (facet.values.length < 2 && !(facet.values.length === 1 && facet.missing)) return false;
  return facet.type !== "text" || !facet.more || facet.values[0].count > 2;
}

function address(fields, { kind, group_by, where, params }) {
  const asked = new URLSearchParams(fields.map((field) => ["field", field]));
  if (kind) asked.set("kind", kind);
  if (group_by) asked.set("group_by", group_by);
  if (where) asked.set("where", where);
  for (const [name, value] of Object.entries(params ?? {})) asked.append("param", `${name}=${JSON.stringify(value)}`);
  return `/v1/facets?${asked}`;
}
