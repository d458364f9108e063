"use strict";
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const narrow = window.matchMedia("(max-width: 600px)");

function looks(isPrint) {
  const isDark = dark.matches && !isPrint;
  return {
    "font.color": isDark ? "#e8eaed" : "#222222",
    "paper_bgcolor": "rgba(0,0,0,0)",
    "modebar.bgcolor": "rgba(0,0,0,0)",
    "modebar.color": isDark ? "#a6adb5" : "#5f6368",
    "hoverlabel.bgcolor": isDark ? "#2a3038" : "#ffffff",
    "hoverlabel.font.color": isDark ? "#e8eaed" : "#222222",
  };
}

// On a phone there is no room beside a panel's title: legends go below the axes, one under the other.
const LINE_PX = 22;
function legendsBelow(layout, place) {
  const names = Object.keys(layout).filter((key) => key.startsWith("legend"));
  const plot = place.clientHeight - layout.margin.t - layout.margin.b;
  let below = 70;
  for (const name of names) {
    Object.assign(layout[name], { x: 0, xanchor: "left", y: -below / plot, yanchor: "top", font: { size: 11 } });
    below += 5 * LINE_PX;
  }
  layout.margin = { ...layout.margin, b: Math.max(layout.margin.b, below), r: 14 };
  layout.font = { size: 11 };
  place.style.height = `${place.clientHeight + layout.margin.b - 55}px`;
}

const plots = [...document.querySelectorAll(".spec")].map((spec) => {
  const figure = JSON.parse(spec.textContent);
  const place = document.getElementById(spec.dataset.for);
  if (narrow.matches) legendsBelow(figure.layout, place);
  Plotly.newPlot(place, figure.data, figure.layout, { responsive: true, displaylogo: false });
  Plotly.relayout(place, looks(false));
  return place;
});
dark.addEventListener("change", () => plots.forEach((place) => Plotly.relayout(place, looks(false))));

// On paper: light, as wide as an A4 page between its margins, with every file unfolded.
const PAPER_PX = 680;
let folded = [];
window.addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open]):not(.long)")];
  folded.forEach((one) => { one.open = true; });
  plots.forEach((place) => Plotly.relayout(place, { ...looks(true), width: PAPER_PX }));
});
window.addEventListener("afterprint", () => {
  folded.forEach((one) => { one.open = false; });
  plots.forEach((place) => Plotly.relayout(place, { ...looks(false), width: null, autosize: true }));
});

// A column is sorted by the first number in its cells where all that say something begin with one, else by its text.
function sortable(table) {
  const heads = [...table.querySelectorAll("thead th")];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      const body = table.tBodies[0];
      const rows = [...body.rows];
      const texts = new Map(rows.map((row) => [row, row.cells[column].textContent.trim()]));
      const says = (text) => text !== "" && text !== "-";
      const number = (text) => (says(text) ? parseFloat(text.replaceAll(",", "")) : -Number.MAX_VALUE);
      const numbers = new Map(rows.map((row) => [row, number(texts.get(row))]));
      const numeric = rows.every((row) => !Number.isNaN(numbers.get(row)));
      rows.sort((a, b) => sign * (numeric ? numbers.get(a) - numbers.get(b) : texts.get(a).localeCompare(texts.get(b))));
      body.append(...rows);
    });
  });
}
document.querySelectorAll("table.ojp").forEach((table) => {
  const box = document.createElement("div");
  box.className = "scroll";
  table.before(box);
  box.append(table);
  sortable(table);
});

async function copy(text) {
  // A page from disk may have no clipboard of its own; a selection always can be copied.
  try { await navigator.clipboard.writeText(text); return true; } catch { /* the old way */ }
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}
document.querySelectorAll(".copy").forEach((button) => {
  button.addEventListener("click", async () => {
    const done = await copy(button.parentElement.querySelector("pre").textContent);
    button.textContent = done ? "Copied" : "Select and copy by hand";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
});
