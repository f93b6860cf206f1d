// Colours, charts, and the sections that an address leads to. The rows are in browser.js.
"use strict";

const settings = JSON.parse(document.getElementById("settings").textContent);

// Colours: as the system has them, or as the reader chose.
const theme = (() => {
  const KEY = "selftaught-theme";
  const ORDER = ["auto", "light", "dark"];
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  let chosen = remembered();

  function remembered() {
    try {
      return ORDER.find((name) => name === localStorage.getItem(KEY)) ?? "auto";
    } catch {
      return "auto"; // A browser may refuse storage to files.
    }
  }

  function scheme() {
    if (chosen !== "auto") return chosen;
    return system.matches ? "dark" : "light";
  }

  function apply() {
    document.documentElement.dataset.theme = chosen;
    button.querySelector("span").textContent = chosen;
    button.setAttribute("aria-label", `Colours: ${chosen === "auto" ? "as in the system" : chosen}`);
    document.dispatchEvent(new Event("schemechange"));
  }

  button.addEventListener("click", () => {
    chosen = ORDER[(ORDER.indexOf(chosen) + 1) % ORDER.length];
    try {
      localStorage.setItem(KEY, chosen);
    } catch {
      // It holds for this visit.
    }
    apply();
  });
  system.addEventListener("change", apply);
  return { scheme, apply };
})();

// Charts: drawn when they come into view, and again when the colours change.
{
  const specs = JSON.parse(document.getElementById("charts-data").textContent);
  const drawn = new Map();

  async function draw(place) {
    const view = drawn.get(place.id);
    const config = settings.themes[theme.scheme()];
    drawn.set(place.id, null);
    const result = await vegaEmbed(place, specs[place.id], {
      actions: false,
      ast: true, // Without compiling expressions, which the content security policy forbids.
      config,
      defaultStyle: false,
      renderer: "svg",
      tooltip: { disableDefaultStyle: true },
    });
    view?.finalize();
    drawn.set(place.id, result);
  }

  const watcher = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries) {
        if (isIntersecting && !drawn.has(target.id)) draw(target);
      }
    },
    { rootMargin: "400px" },
  );
  for (const place of document.querySelectorAll(".chart")) watcher.observe(place);
  document.addEventListener("schemechange", () => {
    for (const id of drawn.keys()) draw(document.getElementById(id));
  });
  theme.apply();
}

// An address that leads into a closed iteration opens it.
function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement && !target.open) {
    target.open = true;
    target.scrollIntoView();
  }
}
addEventListener("hashchange", openTarget);
openTarget();
