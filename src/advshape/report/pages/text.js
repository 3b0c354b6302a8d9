"use strict";
// Text gets into the page as text only: no innerHTML anywhere.
const payload = JSON.parse(document.getElementById("payload").textContent);
const $ = (id) => document.getElementById(id);

const make = (tag, attributes, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
  element.append(...children.map((child) => (child instanceof Node ? child : document.createTextNode(String(child)))));
  return element;
};

// Characters that act but cannot be seen, as text.py has them; a lone carriage return too.
const HIDDEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}\p{Cs}]|\r(?!\n)/gu;
const code = (character) => `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
const visible = (text) => String(text).replace(HIDDEN, (found) => `⟨${code(found)}⟩`);

// A text in an element of its own writing direction: hidden characters as their code, the found words marked.
const LONG = 3000;
const shown = (tag, attributes, text, query) => {
  const element = make(tag, { dir: "auto", ...attributes });
  const fill = (part) => {
    element.replaceChildren();
    let from = 0;
    for (const found of part.matchAll(HIDDEN)) {
      element.append(...marked(part.slice(from, found.index), query), make("span", { class: "code", title: "a character that cannot be seen" }, code(found[0])));
      from = found.index + found[0].length;
    }
    element.append(...marked(part.slice(from), query));
  };
  fill(text.length > LONG ? text.slice(0, LONG) : text);
  if (text.length > LONG) {
    const more = make("button", { type: "button", class: "more" }, `… all ${text.length.toLocaleString("en")} characters`);
    more.addEventListener("click", () => fill(text));
    element.append(more);
  }
  return element;
};

const marked = (text, query) => {
  if (!query) return [text];
  const parts = [];
  const lower = text.toLowerCase();
  let from = 0;
  // A few capitals change their length in lower case; then nothing is marked rather than the wrong letters.
  for (let at = lower.length === text.length ? lower.indexOf(query) : -1; at >= 0; at = lower.indexOf(query, from)) {
    parts.push(text.slice(from, at), make("mark", {}, text.slice(at, at + query.length)));
    from = at + query.length;
  }
  return [...parts, text.slice(from)];
};
