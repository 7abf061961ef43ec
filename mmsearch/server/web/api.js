// The service: JSON in and out; an error is a Problem with a sentence to show.

export class Problem extends Error {
  constructor(status, body) {
    super([body?.detail, body?.hint].filter(Boolean).join(" — ") || `The service answered ${status}.`);
    this.status = status;
  }
}

export async function call(path, body, signal) {
  const options = { signal, headers: { Accept: "application/json" } };
  if (body !== undefined) {
    Object.assign(options, { method: "POST", body: JSON.stringify(body) });
    options.headers["Content-Type"] = "application/json";
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { detail: "The service does not answer.", hint: "is it still running?" });
  }
  if (response.status === 401) throw new Problem(401, { detail: "This browser is not logged in.", hint: "open the link that mmsearch serve printed" });
  if (!response.ok) throw new Problem(response.status, await response.json().catch(() => null));
  return response.json();
}

// Elements one by one: what comes from the collection is text, never markup.
export function make(tag, given = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name === "text") element.textContent = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function drawn(...paths) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  for (const d of paths) {
    const path = document.createElementNS(svg.namespaceURI, "path");
    path.setAttribute("d", d);
    svg.append(path);
  }
  return svg;
}

export const ICONS = {
  like: ["M12 19.5s-7.5-4.4-7.5-9.9A4.1 4.1 0 0 1 12 7.2a4.1 4.1 0 0 1 7.5 2.4c0 5.5-7.5 9.9-7.5 9.9z"],
  unlike: ["M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16z", "M8 12h8"],
  close: ["M6 6l12 12", "M18 6 6 18"],
};

export function title(hit) {
  const named = hit.meta?.title ?? hit.meta?.name;
  if (typeof named === "string" && named) return named;
  if (hit.kind === "text") return hit.text ?? hit.id;
  return (hit.path ?? hit.id).split("/").pop();
}

export const shown = (value) =>
  typeof value === "boolean" ? (value ? "yes" : "no")
  : typeof value === "number" ? value.toLocaleString("en", { maximumFractionDigits: 2 })
  : Array.isArray(value) ? value.map(shown).join(", ")
  : String(value);

// "Honestly": words only where the calibration says so, the number always beside them.
export function fitness(hit) {
  if (typeof hit.relevance !== "number") return null;
  const share = hit.relevance;
  const name = share >= 0.6 ? "likely" : share >= 0.25 ? "maybe" : "unsure";
  return { share, name, label: `${name === "unsure" ? "relevance" : name} ${share.toFixed(2)}` };
}
