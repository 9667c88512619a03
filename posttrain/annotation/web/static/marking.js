// Marking wrong words of a response, the sentences that prove it, and what is missing. Offsets count characters as
// Python does (code points), not JavaScript's UTF-16 units.
"use strict";
(() => {
  let text = "";
  let errors = [];
  let missing = [];
  let active = null;  // ["errors" or "missing", index]: what a clicked sentence belongs to
  let caret = null;   // [anchor, focus]: words, for selecting by keyboard

  const box = () => document.getElementById("marked");
  const points = (units) => [...text.slice(0, units)].length;
  const units = (point) => [...text].slice(0, point).join("").length;
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  const begin = () => {
    if (!box()) return;
    text = box().textContent;
    const kept = document.querySelector("input[name=marks]").value;
    ({ errors = [], missing = [] } = kept ? JSON.parse(kept) : {});
    active = caret = null;
    render();
  };

  // From and to a range of the page.
  const selected = () => {
    const selection = getSelection();
    if (selection.rangeCount === 0 || selection.isCollapsed) return null;
    const range = selection.getRangeAt(0);
    if (!box().contains(range.startContainer) || !box().contains(range.endContainer)) return null;
    const before = range.cloneRange();
    before.selectNodeContents(box());
    before.setEnd(range.startContainer, range.startOffset);
    let start = before.toString().length;
    let end = start + range.toString().length;
    while (start < end && /\s/.test(text[start])) start += 1;
    while (end > start && /\s/.test(text[end - 1])) end -= 1;
    return start < end ? [points(start), points(end)] : null;
  };
  const select = (start, end) => {
    const spot = (offset) => {
      const walker = document.createTreeWalker(box(), NodeFilter.SHOW_TEXT);
      let left = offset;
      while (walker.nextNode()) {
        if (left <= walker.currentNode.length) return [walker.currentNode, left];
        left -= walker.currentNode.length;
      }
      return [box(), box().childNodes.length];
    };
    getSelection().setBaseAndExtent(...spot(start), ...spot(end));
  };
  const moveByWord = (step, isExtending) => {
    const words = [...text.matchAll(/\S+/g)];
    if (words.length === 0) return;
    const last = caret ? caret[1] : step > 0 ? -1 : words.length;
    const next = Math.min(Math.max(last + step, 0), words.length - 1);
    caret = [caret && isExtending ? caret[0] : next, next];
    const [low, high] = [Math.min(...caret), Math.max(...caret)];
    select(words[low].index, words[high].index + words[high][0].length);
  };

  const save = () => {
    const field = document.querySelector("input[name=marks]");
    field.value = JSON.stringify({ errors, missing });
    field.dispatchEvent(new Event("input", { bubbles: true }));
  };
  const changed = () => { render(); save(); };

  const mark = () => {
    const found = selected();
    if (!found) return;
    const type = document.getElementById("error-types").content.querySelector("option").textContent;
    errors.push({ start: found[0], end: found[1], type, explanation: "", evidence: [] });
    active = ["errors", errors.length - 1];
    getSelection().removeAllRanges();
    caret = null;
    changed();
    document.querySelector("#marks .now select").focus();
  };
  const waitForMissing = () => { active = ["missing", missing.length]; render(); document.querySelector("button.sentence")?.focus(); };

  const toggleSentence = (passage, sentence) => {
    if (!active) return;
    if (active[0] === "missing") {
      const type = document.getElementById("missing-types").content.querySelector("option").textContent;
      missing.push({ type, passage, sentence });
      active = null;
      changed();
      [...document.querySelectorAll("#marks .mark select")].pop().focus();
      return;
    }
    const { evidence } = errors[active[1]];
    const at = evidence.findIndex((each) => each[0] === passage && each[1] === sentence);
    if (at < 0) evidence.push([passage, sentence]); else evidence.splice(at, 1);
    changed();
  };

  const render = () => {
    renderText();
    const rows = document.getElementById("marks");
    rows.replaceChildren(...errors.map(errorRow), ...missing.map(missingRow));
    if (active?.[0] === "missing") rows.append(make("p", { className: "notice", textContent: "Click the sentence of a passage that the response should have told." }));
    const proof = active?.[0] === "errors" ? errors[active[1]].evidence : missing.map((each) => [each.passage, each.sentence]);
    for (const button of document.querySelectorAll("button.sentence")) {
      const { passage, sentence } = button.dataset;
      button.setAttribute("aria-pressed", String(proof.some((each) => each[0] === Number(passage) && each[1] === Number(sentence))));
    }
  };
  const renderText = () => {
    const cuts = [...new Set([0, text.length, ...errors.flatMap((each) => [units(each.start), units(each.end)])])].sort((a, b) => a - b);
    const parts = [];
    for (let i = 0; i + 1 < cuts.length; i += 1) {
      const over = errors.filter((each) => units(each.start) <= cuts[i] && cuts[i + 1] <= units(each.end));
      const piece = text.slice(cuts[i], cuts[i + 1]);
      const isNow = active?.[0] === "errors" && over.includes(errors[active[1]]);
      parts.push(over.length ? make("mark", { textContent: piece, className: isNow ? "now" : "" }) : piece);
    }
    box().replaceChildren(...parts);
  };
  const types = (template, chosen, change, label) => {
    const element = make("select");
    element.setAttribute("aria-label", label);
    element.append(document.getElementById(template).content.cloneNode(true));
    element.value = chosen;
    element.addEventListener("change", () => { change(element.value); save(); });
    return element;
  };
  const removal = (list, index) => {
    const button = make("button", { type: "button", className: "plain", textContent: "Remove" });
    button.addEventListener("click", () => { list.splice(index, 1); active = null; changed(); });
    return button;
  };
  const errorRow = (error, index) => {
    const isNow = active?.[0] === "errors" && active[1] === index;
    const why = make("input", { value: error.explanation, placeholder: "why (optional)", maxLength: 2000 });
    why.setAttribute("aria-label", "Why it is wrong");
    why.addEventListener("input", () => { error.explanation = why.value; save(); });
    const row = make("div", { className: isNow ? "mark now" : "mark" },
      make("span", { className: "text", textContent: [...text].slice(error.start, error.end).join("") }),
      types("error-types", error.type, (type) => { error.type = type; }, "Kind of error"), why, removal(errors, index));
    if (document.querySelector("button.sentence")) {
      const count = error.evidence.length;
      row.append(make("span", { className: "evidence", textContent: `Evidence: ${count === 0 ? "none yet" : count === 1 ? "1 sentence" : `${count} sentences`}${isNow ? "; click sentences of the passages" : ""}` }));
    }
    row.addEventListener("focusin", () => { if (!(active?.[0] === "errors" && active[1] === index)) { active = ["errors", index]; mute(row); } });
    return row;
  };
  // Only what shows which mark is active: drawing the rows anew would take the focus from the field in it.
  const mute = (row) => {
    for (const each of document.querySelectorAll("#marks .mark")) each.classList.toggle("now", each === row);
    renderText();
    const proof = errors[active[1]].evidence;
    for (const button of document.querySelectorAll("button.sentence")) {
      button.setAttribute("aria-pressed", String(proof.some((each) => each[0] === Number(button.dataset.passage) && each[1] === Number(button.dataset.sentence))));
    }
  };
  const missingRow = (each, index) => {
    const sentence = document.querySelector(`button.sentence[data-passage="${each.passage}"][data-sentence="${each.sentence}"]`);
    return make("div", { className: "mark" }, make("span", { className: "text", textContent: `Missing: ${sentence?.textContent ?? ""}` }),
      types("missing-types", each.type, (type) => { each.type = type; }, "Kind of omission"), make("span"), removal(missing, index));
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("button");
    if (button?.id === "mark") mark();
    if (button?.id === "missing") waitForMissing();
    if (button?.classList.contains("sentence")) toggleSentence(Number(button.dataset.passage), Number(button.dataset.sentence));
  });
  document.addEventListener("mousedown", (event) => { if (event.target.closest?.("#mark")) event.preventDefault(); else caret = null; });  // keeps the selection
  document.addEventListener("keydown", (event) => {
    if (event.target !== box() || !["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    event.preventDefault();
    moveByWord(event.key === "ArrowRight" ? 1 : -1, event.shiftKey);
  });
  document.addEventListener("posttrain:begin", begin);
})();
