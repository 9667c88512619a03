// What could not be sent is kept in this browser and sent again until the server has it. The form's key makes it count once.
"use strict";
(() => {
  const meta = (name) => document.querySelector(`meta[name=${name}]`)?.content ?? "";
  const place = () => `posttrain-unsent:${meta("annotator")}`;
  const notice = () => document.getElementById("unsent");
  let timer = null;

  const say = (text) => {
    notice().textContent = text;
    notice().hidden = text === "";
  };
  const read = () => JSON.parse(localStorage.getItem(place()) ?? "null");
  const forget = () => localStorage.removeItem(place());

  const show = (html) => {
    const task = document.getElementById("task");
    if (!task) { location.reload(); return; }
    htmx.swap(task, html, { swapStyle: "innerHTML", settleDelay: 0 });
    document.dispatchEvent(new CustomEvent("posttrain:shown"));
  };

  const retry = async () => {
    timer = null;
    const kept = read();
    if (!kept) { say(""); return; }
    const fields = new URLSearchParams(kept.body);
    fields.set("csrf", meta("csrf"));  // the session may be another by now
    let response;
    try {
      response = await fetch(kept.url, { method: "POST", body: fields, headers: { "HX-Request": "true" }, redirect: "follow" });
    } catch { later(); return; }
    if (response.status === 429 || response.status >= 500) { later(); return; }
    if (response.status === 401) { say("You are logged out. Your answer is kept in this browser; log in and it will be sent."); return; }
    forget();
    const html = await response.text();
    if (response.ok) { say(""); show(html); return; }
    const told = new DOMParser().parseFromString(html, "text/html").getElementById("refusal");
    say(told ? told.textContent : html.slice(0, 200));
  };
  const later = () => {
    say("The server does not answer. Your answer is kept in this browser and will be sent again.");
    if (timer === null) timer = setTimeout(retry, 2000);
  };
  const keep = (event) => {
    const { requestConfig } = event.detail;
    if (requestConfig.verb !== "post") return;
    const body = new URLSearchParams([...requestConfig.formData.entries()].map(([name, value]) => [name, String(value)]));
    localStorage.setItem(place(), JSON.stringify({ url: requestConfig.path, body: body.toString() }));
    later();
  };

  document.addEventListener("htmx:sendError", keep);
  document.addEventListener("htmx:timeout", keep);
  document.addEventListener("htmx:responseError", (event) => {
    const { status, responseText } = event.detail.xhr;
    if (status === 429 || status >= 500 || status === 401) { keep(event); return; }
    const told = new DOMParser().parseFromString(responseText, "text/html").getElementById("refusal");
    say(told ? told.textContent : responseText.slice(0, 200));
    document.dispatchEvent(new CustomEvent("posttrain:refused"));
  });
  document.addEventListener("DOMContentLoaded", () => { if (meta("annotator") && read()) retry(); });
})();
