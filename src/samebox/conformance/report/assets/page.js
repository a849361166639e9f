"use strict";
// Filters the matrix. What is chosen stands in the address's fragment, so that a link shows the same.
(() => {
  const form = document.querySelector(".filters");
  if (!form) return;
  const text = form.querySelector("#f-text"), group = form.querySelector("#f-group"), count = form.querySelector("#f-count");
  const buttons = [...form.querySelectorAll("button")];
  const tests = [...document.querySelectorAll(".test")].map((element) => ({
    element,
    words: element.textContent.toLowerCase(),
    verdicts: element.dataset.verdicts.split(" "),
    group: element.closest(".group"),
  }));
  const pressed = (button) => button.getAttribute("aria-pressed") === "true";

  const apply = () => {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = buttons.filter((b) => b.dataset.verdict && pressed(b)).map((b) => b.dataset.verdict);
    const differ = buttons.some((b) => b.dataset.differ && pressed(b));
    const groups = new Set();
    let shown = 0;
    for (const test of tests) {
      const show = (!group.value || test.group.dataset.group === group.value)
        && (!wanted.length || test.verdicts.some((verdict) => wanted.includes(verdict)))
        && (!differ || new Set(test.verdicts).size > 1)
        && words.every((word) => test.words.includes(word));
      test.element.hidden = !show;
      if (show) { shown += 1; groups.add(test.group); }
    }
    for (const element of document.querySelectorAll(".group")) element.hidden = !groups.has(element);
    count.value = `${shown} of ${tests.length} tests`;
    const state = new URLSearchParams();
    if (text.value) state.set("text", text.value);
    if (group.value) state.set("group", group.value);
    if (wanted.length) state.set("verdict", wanted.join(","));
    if (differ) state.set("differ", "1");
    return state.toString();
  };
  const changed = () => {
    const state = apply();
    try { history.replaceState(null, "", state ? `#${state}` : location.pathname + location.search); } catch { /* a page in a frame */ }
  };
  const read = () => {
    const hash = location.hash.slice(1);
    if (!hash.includes("=")) {  // the id of a test
      const found = hash && document.getElementById(decodeURIComponent(hash));
      if (found && found.tagName === "DETAILS") { found.open = true; found.scrollIntoView(); }
      return;
    }
    const state = new URLSearchParams(hash);
    const verdicts = (state.get("verdict") || "").split(",");
    text.value = state.get("text") || "";
    group.value = state.get("group") || "";
    if (group.selectedIndex < 0) group.value = "";
    for (const b of buttons) {
      b.setAttribute("aria-pressed", String(b.dataset.verdict ? verdicts.includes(b.dataset.verdict) : state.has("differ")));
    }
  };

  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  text.addEventListener("input", changed);
  group.addEventListener("change", changed);
  for (const b of buttons) {
    b.addEventListener("click", () => { b.setAttribute("aria-pressed", String(!pressed(b))); changed(); });
  }
  window.addEventListener("hashchange", () => { read(); apply(); });
  read();
  apply();
})();
