// One hit, closely: the picture, where in it the query is met, why it is here, what is stored, what is similar.

import { ICONS, call, drawn, fitness, make, shown, title } from "./api.js";

export class Detail {
  // page: {query, vote(hit, list), similar(hit), step(by), paging()}
  constructor(page) {
    this.page = page;
    this.dialog = document.querySelector("#detail");
    this.dialog.addEventListener("keydown", (event) => {
      if (event.target.matches("input") || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "ArrowRight") this.page.step(1);
      else if (event.key === "ArrowLeft") this.page.step(-1);
      else if (event.key.toLowerCase() === "l") this.page.vote(this.hit, "like");
      else if (event.key.toLowerCase() === "u") this.page.vote(this.hit, "unlike");
      else if (event.key.toLowerCase() === "s") this.#similar();
      else return;
      event.preventDefault();
    });
    this.dialog.addEventListener("click", (event) => { if (event.target === this.dialog) this.dialog.close(); });
    this.dialog.addEventListener("close", () => { this.stop?.abort(); this.hit = null; });
  }

  get open() { return this.dialog.open; }

  show(hit) {
    this.stop?.abort();
    this.stop = new AbortController();
    this.hit = hit;
    this.stage = make("div", { class: "stage" });
    this.strip = make("div", { class: "strip" });
    this.product = make("section", { hidden: true });
    this.votes = make("div", { class: "row" });
    const side = make("div", { class: "side" },
      make("button", { type: "button", class: "icon close", "aria-label": "Close", onclick: () => this.dialog.close() }, drawn(...ICONS.close)),
      make("h2", { id: "detail-title", text: title(hit) }), this.votes, this.product, this.#why(hit), this.#stored(hit),
      make("section", {}, make("h3", { text: "Similar" }), this.strip));
    this.#picture(hit);
    this.buttons();
    this.dialog.replaceChildren(this.stage, side);
    if (!this.dialog.open) this.dialog.showModal();
    this.votes.firstElementChild.focus({ preventScroll: true });
    this.#fill(hit, this.stop.signal);
  }

  buttons() {
    if (!this.hit) return;
    const hit = this.hit, voted = this.page.query.voted(hit.id);
    const had = [...this.votes.children].indexOf(document.activeElement);
    const words = this.page.query.words;
    const heat = hit.kind === "image" && words
      ? make("button", { type: "button", class: "button", text: "Where?", title: `Where “${words}” is met in the picture`, "aria-pressed": String(Boolean(this.heat)), onclick: () => this.#heat() }) : null;
    this.votes.replaceChildren(
      make("button", { type: "button", class: "button primary", text: "More like this", onclick: () => this.#similar() }),
      make("button", { type: "button", class: "button", text: "Like", "aria-pressed": String(voted === "like"), onclick: () => this.page.vote(hit, "like") }),
      make("button", { type: "button", class: "button", text: "Unlike", "aria-pressed": String(voted === "unlike"), onclick: () => this.page.vote(hit, "unlike") }),
      ...(heat ? [heat] : []));
    this.votes.children[had]?.focus(); // what has the focus is made anew, and keys go where the focus is
  }

  #similar() { const hit = this.hit; this.dialog.close(); this.page.similar(hit); }

  #picture(hit) {
    this.heat = null;
    if (hit.kind !== "image") { this.stage.append(make("blockquote", { text: hit.text ?? "" })); return; }
    const image = make("img", { src: `${hit.thumb}?size=1024`, alt: title(hit) });
    image.addEventListener("error", () => image.replaceWith(make("p", { class: "quiet", text: "The file is not there any more." })));
    this.stage.append(image);
  }

  #heat() {
    if (this.heat) { this.heat.remove(); this.heat = null; this.buttons(); return; }
    const note = make("p", { class: "loading", text: "Looking where …" });
    this.heat = make("img", { class: "heat", alt: `Where “${this.page.query.words}” is met: the bright places`, src: `/v1/heatmap/${this.hit.href.split("/").pop()}?form=png&q=${encodeURIComponent(this.page.query.words)}` });
    this.heat.addEventListener("load", () => note.remove());
    this.heat.addEventListener("error", () => { note.textContent = "This cannot be shown for this picture."; this.heat?.remove(); this.heat = null; this.buttons(); });
    this.stage.append(this.heat, note);
    this.buttons();
  }

  #why(hit) {
    const fit = fitness(hit);
    const list = make("ul", { class: "why" });
    const terms = hit.why ?? [];
    const most = Math.max(...terms.map((one) => Math.abs(one.share)), 0.01);
    for (const one of terms) {
      const bar = make("i");
      bar.style.width = `${Math.round((100 * Math.abs(one.share)) / most)}%`;
      list.append(make("li", { class: one.share < 0 ? "minus" : "" },
        make("span", { class: "term", text: `${one.weight < 0 ? "not " : ""}${this.#named(one)}` }),
        make("span", { class: "share" }, bar), make("span", { class: "figure", text: `${one.share < 0 ? "−" : "+"}${Math.abs(one.share).toFixed(3)}` })));
    }
    const place = hit.looked ? "" : `Rank ${hit.rank}, cosine ${hit.score.toFixed(3)}${fit ? `, ${fit.label}` : ""}.`;
    return make("section", {}, make("h3", { text: "Why it is here" }), make("p", { text: place || "One of the many, looked at without a question." }), terms.length > 1 ? list : null);
  }

  #named(one) {
    if (one.term === "the image") return "your picture";
    return [...this.page.query.like, ...this.page.query.unlike].find((item) => item.id === one.term)?.name ?? one.term;
  }

  #stored(hit) {
    const list = make("dl", { class: "facts-list" });
    const rows = Object.entries(hit.meta ?? {}).filter(([name, value]) => name !== "title" && value !== null && (typeof value !== "object" || Array.isArray(value)));
    for (const [name, value] of [...rows, ["file", hit.path], ["id", hit.id]]) {
      if (value !== null && value !== undefined) list.append(make("dt", { text: name.replaceAll("_", " ") }), make("dd", { text: shown(value) }));
    }
    if (hit.kind === "image" && hit.text) list.append(make("dt", { text: "text" }), make("dd", { text: hit.text }));
    return make("section", {}, make("h3", { text: "What is stored" }), list);
  }

  // A product's other photos, and its texts that the title does not say already.
  async #others(hit, signal) {
    const asked = new URLSearchParams({ k: 12, kind: "any", where: '"group" = :group', param: `group=${JSON.stringify(hit.group)}` });
    const found = await call(`/v1/similar/${hit.href.split("/").pop()}?${asked}`, undefined, signal);
    const texts = found.hits.filter((one) => one.kind === "text" && one.text !== title(hit));
    const photos = found.hits.filter((one) => one.thumb);
    this.product.append(...texts.map((one) => make("p", { text: one.text })));
    if (photos.length) this.product.append(make("div", { class: "strip" }, ...photos.map((one) => this.#look(one))));
    this.product.hidden = !texts.length && !photos.length;
  }

  #look(hit) {
    const button = make("button", { type: "button", title: title(hit), "aria-label": `Look at ${title(hit)}`, onclick: () => this.show(hit) });
    button.append(hit.thumb ? make("img", { src: `${hit.thumb}?size=128`, alt: "", loading: "lazy" }) : "¶");
    return button;
  }

  async #fill(hit, signal) {
    try {
      if (hit.group) await this.#others(hit, signal);
      const { group_by } = this.page.paging();
      const asked = new URLSearchParams({ k: 11, kind: hit.kind, ...(group_by ? { group_by } : {}) });
      const found = await call(`/v1/similar/${hit.href.split("/").pop()}?${asked}`, undefined, signal);
      const others = found.hits.filter((one) => !hit.group || one.group !== hit.group).slice(0, 10);
      this.strip.replaceChildren(...others.map((one) => this.#look(one)));
    } catch (error) {
      if (error.name !== "AbortError") this.strip.replaceChildren(make("p", { class: "quiet", text: error.message }));
    }
  }
}
