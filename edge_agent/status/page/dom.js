// What every part of the page uses to write itself.
export function h(name, attributes = {}, ...inside) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value !== null && value !== false) element.setAttribute(key, value === true ? "" : value);
  element.append(...inside.filter((each) => each !== "" && each !== null));
  return element;
}
export function fill(element, parts) { element.replaceChildren(...parts.filter((each) => each !== "" && each !== null)); }
export function age(ms) {
  const s = Math.max(0, ms) / 1000;
  if (s < 10) return `${s.toFixed(1)} s`;
  for (const [limit, size, word] of [[120, 1, "s"], [7200, 60, "min"], [172800, 3600, "h"]]) if (s < limit) return `${Math.floor(s / size)} ${word}`;
  return `${Math.floor(s / 86400)} d`;
}
export const number = (n) => (n === null || n === undefined ? "–" : n.toLocaleString("en"));
export const clock = (text) => (text === null ? "never" : new Date(text).toLocaleTimeString("en-GB"));
export const many = (n, word) => `${number(n)} ${word}${n === 1 ? "" : "s"}`;
export const size = (bytes) => { let n = bytes; for (const word of ["B", "KiB", "MiB", "GiB"]) { if (n < 1024 || word === "GiB") return `${n < 10 && word !== "B" ? n.toFixed(1) : Math.round(n)} ${word}`; n /= 1024; } };
