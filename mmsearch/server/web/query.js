// What is asked for: words, words to avoid, a picture, liked and disliked items. Shown as chips in the bar.

import { ICONS, drawn, make } from "./api.js";

const LONGEST = 768; // pixels: a model sees a few hundred

export class QueryBar {
  constructor(changed) {
    this.changed = changed;
    this.words = "";
    this.not = [];
    this.like = []; // {id, name, thumb}
    this.unlike = [];
    this.picture = null; // {base64, url}
    this.chips = document.querySelector("#chips");
    this.input = document.querySelector("#words");
    this.file = document.querySelector("#file");
    this.crop = new Cropper();
    document.querySelector("#search").addEventListener("submit", (event) => { event.preventDefault(); this.read(); this.changed(); });
    document.querySelector("#pick").addEventListener("click", () => this.file.click());
    this.file.addEventListener("change", () => { this.take(this.file.files[0]); this.file.value = ""; });
    this.input.addEventListener("keydown", (event) => {
      if (event.key === "Backspace" && !this.input.value && this.chips.lastElementChild) this.chips.lastElementChild.querySelector("button").click();
    });
    this.#dropping();
  }

  get empty() { return !(this.words || this.not.length || this.like.length || this.unlike.length || this.picture); }

  // "red dress -stripes -"long sleeves"": what a minus stands before becomes a chip of its own.
  read() {
    const words = [];
    for (const part of this.input.value.match(/-?"[^"]*"|\S+/g) ?? []) {
      const plain = part.replace(/^-/, "").replaceAll('"', "").trim();
      if (!plain) continue;
      if (part.startsWith("-")) { if (!this.not.includes(plain)) this.not.push(plain); } else words.push(plain);
    }
    this.words = words.join(" ");
    this.show();
  }

  async take(file) {
    if (!file?.type.startsWith("image/")) return;
    const picture = await createImageBitmap(file, { imageOrientation: "from-image" }).catch(() => null);
    if (!picture) { this.onproblem?.("This picture cannot be read."); return; }
    const part = await this.crop.ask(picture);
    if (!part) return;
    this.picture = part;
    this.show();
    this.changed();
  }

  // Liked, disliked, or neither; pressing the same again takes it back.
  vote(item, list) {
    const was = this[list].some((one) => one.id === item.id);
    for (const name of ["like", "unlike"]) this[name] = this[name].filter((one) => one.id !== item.id);
    if (!was) this[list].push(item);
    this.show();
  }

  voted(id) { return this.like.some((one) => one.id === id) ? "like" : this.unlike.some((one) => one.id === id) ? "unlike" : null; }

  reset() { Object.assign(this, { words: "", not: [], like: [], unlike: [], picture: null }); this.show(); }

  body() {
    const terms = this.not.map((text) => ({ text, weight: -0.6 }));
    if (this.words) terms.unshift({ text: this.words });
    if (this.picture) terms.unshift({ image: this.picture.base64 });
    // several liked count as one term, and a quarter as much the disliked ones
    for (const one of this.like) terms.push({ id: one.id, weight: 1 / this.like.length });
    for (const one of this.unlike) terms.push({ id: one.id, weight: -0.25 / this.unlike.length });
    return { terms };
  }

  describe() {
    const parts = [];
    if (this.words) parts.push(`“${this.words}”`);
    if (this.picture) parts.push("your picture");
    if (this.like.length) parts.push(this.like.length === 1 ? this.like[0].name : `${this.like.length} liked`);
    const away = [...this.not, ...this.unlike.map((one) => one.name)];
    return (parts.join(" + ") || "anything") + (away.length ? ` without ${away.join(", ")}` : "");
  }

  show() {
    const chip = (name, text, picture, remove, kind = "") => make("li", { class: `chip ${kind}` },
      picture ? make("img", { src: picture, alt: "", width: 30, height: 30 }) : null,
      make("span", { text }),
      make("button", { type: "button", "aria-label": `Remove ${name}`, onclick: () => { remove(); this.show(); this.changed(); } }, drawn(...ICONS.close)));
    const drop = (list, id) => () => { this[list] = this[list].filter((one) => one.id !== id); };
    this.chips.replaceChildren(
      ...(this.picture ? [chip("the picture", "picture", this.picture.url, () => { this.picture = null; })] : []),
      ...this.like.map((one) => chip(`liked: ${one.name}`, "like", one.thumb, drop("like", one.id))),
      ...this.unlike.map((one) => chip(`disliked: ${one.name}`, "unlike", one.thumb, drop("unlike", one.id), "not")),
      ...this.not.map((text) => chip(`not ${text}`, `not ${text}`, null, () => { this.not = this.not.filter((one) => one !== text); }, "not")));
    this.input.value = this.words;
    this.input.placeholder = this.empty ? "Search by words or a picture" : "Add words, or -words to avoid";
  }

  #dropping() {
    const curtain = document.querySelector("#drop");
    const brings = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
    let depth = 0;
    addEventListener("dragenter", (event) => { if (brings(event)) { depth += 1; curtain.hidden = false; } });
    addEventListener("dragleave", () => { depth = Math.max(0, depth - 1); if (!depth) curtain.hidden = true; });
    addEventListener("dragover", (event) => { if (brings(event)) event.preventDefault(); });
    addEventListener("drop", (event) => {
      if (!brings(event)) return;
      event.preventDefault();
      depth = 0;
      curtain.hidden = true;
      this.take([...event.dataTransfer.files].find((file) => file.type.startsWith("image/")));
    });
    addEventListener("paste", (event) => {
      const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
      if (file) { event.preventDefault(); this.take(file); }
    });
  }
}

// A dialog with the picture; what is marked is cut out and made small enough to send.
class Cropper {
  constructor() {
    this.dialog = document.querySelector("#crop");
    this.canvas = document.querySelector("#crop-canvas");
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      this.from = this.#at(event);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (!this.from) return;
      const to = this.#at(event);
      this.box = { x: Math.min(to.x, this.from.x), y: Math.min(to.y, this.from.y), w: Math.abs(to.x - this.from.x), h: Math.abs(to.y - this.from.y) };
      this.#paint();
    });
    this.canvas.addEventListener("pointerup", () => {
      this.from = null;
      if (this.box.w * this.canvas.width < 12 || this.box.h * this.canvas.height < 12) this.box = { x: 0, y: 0, w: 1, h: 1 };
      this.#paint();
    });
    this.canvas.addEventListener("keydown", (event) => this.#key(event));
    document.querySelector("#crop-whole").addEventListener("click", () => { this.box = { x: 0, y: 0, w: 1, h: 1 }; this.dialog.close("done"); });
    document.querySelector("#crop-done").addEventListener("click", () => this.dialog.close("done"));
  }

  ask(picture) {
    this.picture = picture;
    this.box = { x: 0, y: 0, w: 1, h: 1 };
    const scale = Math.min(1, 590 / picture.width, (innerHeight * 0.5) / picture.height);
    this.canvas.width = Math.max(1, Math.round(picture.width * scale));
    this.canvas.height = Math.max(1, Math.round(picture.height * scale));
    this.#paint();
    this.dialog.returnValue = "";
    this.dialog.showModal();
    return new Promise((resolve) => this.dialog.addEventListener("close", () => resolve(this.dialog.returnValue === "done" ? this.#cut() : null), { once: true }));
  }

  #at(event) {
    const place = this.canvas.getBoundingClientRect();
    const inside = (value) => Math.min(1, Math.max(0, value));
    return { x: inside((event.clientX - place.left) / place.width), y: inside((event.clientY - place.top) / place.height) };
  }

  #key(event) {
    const step = { ArrowLeft: [-0.04, 0], ArrowRight: [0.04, 0], ArrowUp: [0, -0.04], ArrowDown: [0, 0.04] }[event.key];
    if (!step) return;
    event.preventDefault();
    const box = this.box;
    if (event.shiftKey) { box.w = Math.min(1 - box.x, Math.max(0.1, box.w + step[0])); box.h = Math.min(1 - box.y, Math.max(0.1, box.h + step[1])); }
    else { box.x = Math.min(1 - box.w, Math.max(0, box.x + step[0])); box.y = Math.min(1 - box.h, Math.max(0, box.y + step[1])); }
    this.#paint();
  }

  #paint() {
    const { width, height } = this.canvas, { x, y, w, h } = this.box;
    const pen = this.canvas.getContext("2d");
    pen.drawImage(this.picture, 0, 0, width, height);
    if (w === 1 && h === 1) return;
    pen.fillStyle = "rgb(10 11 18 / 62%)";
    pen.beginPath();
    pen.rect(0, 0, width, height);
    pen.rect(x * width, y * height, w * width, h * height);
    pen.fill("evenodd");
    pen.strokeStyle = "#fff";
    pen.lineWidth = 2;
    pen.strokeRect(x * width, y * height, w * width, h * height);
  }

  #cut() {
    const { x, y, w, h } = this.box, { width, height } = this.picture;
    const scale = Math.min(1, LONGEST / Math.max(w * width, h * height));
    const out = document.createElement("canvas");
    out.width = Math.max(1, Math.round(w * width * scale));
    out.height = Math.max(1, Math.round(h * height * scale));
    const pen = out.getContext("2d");
    pen.fillStyle = "#fff"; // transparent pictures are seen on white, as when they are indexed
    pen.fillRect(0, 0, out.width, out.height);
    pen.drawImage(this.picture, x * width, y * height, w * width, h * height, 0, 0, out.width, out.height);
    const url = out.toDataURL("image/jpeg", 0.92);
    return { url, base64: url.slice(url.indexOf(",") + 1) };
  }
}
