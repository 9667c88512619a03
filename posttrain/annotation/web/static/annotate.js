// Keys, the order of questions, ranks, time on a task. Without this file every page still works with the mouse, but for spans.
"use strict";
(() => {
  const find = (selector) => document.querySelector(selector);
  const answerForm = () => document.getElementById("answer");
  const isWriting = (element) => element.matches("textarea, select, input:not([type=radio], [type=checkbox], [type=hidden])");

  // Time: from when the task was first shown in this browser, across reloads.
  const begin = () => {
    const form = answerForm();
    if (!form) return;
    const name = `posttrain-shown:${form.dataset.keyOfForm}`;
    if (!sessionStorage.getItem(name)) sessionStorage.setItem(name, String(Date.now()));
    restoreDraft(form);
    ask(form);
    document.dispatchEvent(new CustomEvent("posttrain:begin"));
  };
  const seconds = (form) => {
    const since = Number(sessionStorage.getItem(`posttrain-shown:${form.dataset.keyOfForm}`));
    return since ? (Date.now() - since) / 1000 : "";
  };

  // Text that is not saved yet outlives a reload.
  const draftPlace = (form) => `posttrain-draft:${form.dataset.keyOfForm}`;
  const restoreDraft = (form) => {
    const kept = JSON.parse(localStorage.getItem(draftPlace(form)) ?? "{}");
    for (const [name, value] of Object.entries(kept)) {
      const element = form.elements.namedItem(name);
      if (element) element.value = value;
    }
  };
  document.addEventListener("input", (event) => {
    const form = answerForm();
    if (!form || !form.contains(event.target) || !event.target.name) return;
    const fields = Object.fromEntries([...new FormData(form)].filter(([name]) => !["csrf", "key", "seconds"].includes(name)));
    localStorage.setItem(draftPlace(form), JSON.stringify(fields));
  });

  // Questions of a pair, one after the other; how much better is not asked of a tie.
  const questions = (form) => [...form.querySelectorAll("fieldset[data-question]")].filter((each) => !each.hidden);
  const isAnswered = (question) => question.querySelector("input:checked") !== null;
  const ask = (form) => {
    const strength = form.querySelector("fieldset[data-question=strength]");
    if (strength) {
      const choice = form.querySelector("input[name=choice]:checked");
      const isAsked = !choice || choice.value === "left" || choice.value === "right";
      strength.hidden = !isAsked;
      strength.disabled = !isAsked;
    }
    const open = questions(form).find((each) => !isAnswered(each));
    for (const each of questions(form)) each.classList.toggle("now", each === open);
    return open;
  };
  const answerQuestion = (form, key) => {
    const open = ask(form);
    const option = open?.querySelector(`input[data-answer="${key}"]`);
    if (!option) return false;
    option.checked = true;
    option.dispatchEvent(new Event("input", { bubbles: true }));
    if (!ask(form)) form.requestSubmit(form.querySelector("button.primary"));
    return true;
  };
  const takeBack = (form) => {
    const last = questions(form).filter(isAnswered).pop();
    const option = last?.querySelector("input:checked");
    if (!option) return false;
    option.checked = false;
    ask(form);
    return true;
  };
  document.addEventListener("change", () => { if (answerForm()) ask(answerForm()); });

  // Ranks: numbers from best to worst.
  let isTied = false;
  const selects = (form) => [...form.querySelectorAll("select[name^=rank-]")];
  const ranked = (form) => selects(form).filter((each) => each.value !== "").sort((a, b) => Number(a.dataset.turn) - Number(b.dataset.turn));
  const rank = (form, key) => {
    if (key === "=") { isTied = true; return true; }
    if (key === "Backspace") { const last = ranked(form).pop(); if (last) last.value = ""; return true; }
    const chosen = selects(form)[Number(key) - 1];
    if (!chosen || chosen.value !== "") return false;
    const before = ranked(form);
    const worst = Math.max(0, ...before.map((each) => Number(each.value)));
    chosen.value = String(isTied && worst ? worst : worst + 1);
    chosen.dataset.turn = String(before.length);
    isTied = false;
    chosen.dispatchEvent(new Event("input", { bubbles: true }));
    return true;
  };

  const openPass = (kind) => {
    const details = document.getElementById("pass-details");
    if (!details) return false;
    details.open = true;
    details.dataset.kind = kind;
    find("#pass input[name=reason]").focus();
    return true;
  };

  const modified = (event) => `${event.ctrlKey || event.metaKey ? "Control+" : ""}${event.key}`;
  const onKey = (event) => {
    const form = answerForm();
    const key = modified(event);
    if (event.repeat || event.altKey || !find("#task")) return;
    if (form && form.dataset.sent) return;
    if (event.target.closest?.("#pass")) {
      if (key === "Enter" && event.target.name === "reason") {
        event.preventDefault();
        const kind = document.getElementById("pass-details").dataset.kind ?? "skip";
        find(`#pass button[value=${kind}]`).click();  // htmx sends the name of a button that was clicked only
      }
      if (key === "Escape") { document.getElementById("pass-details").open = false; find("#task h1").focus(); }
      return;
    }
    if (isWriting(event.target) && key !== "Control+Enter") return;
    if (key === "Enter" && event.target.closest?.("button, a, summary")) return;  // it is pressed itself
    const wasUsed =
      (form && form.dataset.mode === "rank" && rank(form, key)) ||
      (form && answerQuestion(form, key)) ||
      (form && key === "Backspace" && takeBack(form)) ||
      (key === "s" && openPass("skip")) ||
      (key === "f" && openPass("flag")) ||
      press(key);
    if (wasUsed) event.preventDefault();
  };
  const press = (key) => {
    const button = [...document.querySelectorAll("#task [data-key]")].find((each) => each.dataset.key === key);
    if (!button) return false;
    button.click();
    return true;
  };

  document.addEventListener("keydown", onKey);
  document.addEventListener("submit", (event) => {
    if (event.target !== answerForm()) return;
    event.target.elements.namedItem("seconds").value = seconds(event.target);
  }, true);
  document.addEventListener("htmx:beforeRequest", (event) => { if (event.target === answerForm()) event.target.dataset.sent = "yes"; });
  const allow = () => { const form = answerForm(); if (form) delete form.dataset.sent; };
  document.addEventListener("posttrain:refused", allow);
  const shown = () => {
    isTied = false;
    begin();
    const heading = find("#task h1");
    if (heading) { heading.focus({ preventScroll: true }); window.scrollTo(0, 0); }
  };
  document.addEventListener("htmx:afterSwap", (event) => { if (event.detail.target?.id === "task") shown(); });
  document.addEventListener("posttrain:shown", shown);
  document.addEventListener("htmx:afterRequest", (event) => {
    // an answer that was taken needs no draft
    if (event.detail.successful) for (const name of Object.keys(localStorage)) {
      if (name.startsWith("posttrain-draft:") && name !== (answerForm() ? draftPlace(answerForm()) : "")) localStorage.removeItem(name);
    }
  });
  document.addEventListener("DOMContentLoaded", () => {
    begin();
    const code = document.getElementById("code");
    if (code && location.hash.length > 1) {
      code.value = location.hash.slice(1);
      history.replaceState(null, "", location.pathname);  // so that it stays in no history
    }
  });
})();
