"""The viewer's page: style and script. All text is inserted as text, never as HTML."""

_CSS = """
:root { --ink: #1b1f24; --soft: #4c5561; --rule: #d9dee5; --paper: #fff; --tint: #f4f6f9; --accent: #005fa3;
  --right: #0c7c36; --wrong: #c81e2d; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; }
header { position: sticky; top: 0; z-index: 1; background: var(--tint); border-bottom: 1px solid var(--rule);
  padding: 10px 16px; display: flex; flex-wrap: wrap; gap: 8px 16px; align-items: center; }
h1 { font-size: 1.05rem; margin: 0; }
label { color: var(--soft); }
select, button { font: inherit; padding: 3px 6px; max-width: 260px; }
#count { margin-left: auto; font-variant-numeric: tabular-nums; }
#grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(180px, 1fr)); gap: 8px; padding: 12px 16px; }
#grid button { all: unset; cursor: pointer; aspect-ratio: 1; background: var(--tint); border-radius: 6px;
  overflow: hidden; display: flex; }
#grid img { width: 100%; height: 100%; object-fit: cover; }
#grid button:focus { outline: 4px solid var(--accent); outline-offset: 1px; }
#more { height: 1px; }
#none { padding: 40px 16px; color: var(--soft); }
dialog { border: 0; padding: 0; width: 100vw; height: 100vh; max-width: 100vw; max-height: 100vh; }
dialog[open] { display: grid; grid-template-columns: minmax(0, 1fr) 320px; }
#big { display: flex; align-items: center; justify-content: center; background: #14171b; min-width: 0; height: 100vh; }
#big img { max-width: 100%; max-height: 100vh; }
aside { padding: 14px 18px; overflow: auto; height: 100vh; }
aside h2 { font-size: 1rem; margin: 16px 0 4px; } aside p { margin: 4px 0; overflow-wrap: anywhere; }
ul { margin: 0; padding-left: 18px; } .right { color: var(--right); } .wrong { color: var(--wrong); }
kbd { border: 1px solid var(--rule); border-radius: 4px; padding: 0 5px; background: var(--tint); }
@media (max-width: 700px) { dialog[open] { grid-template-columns: 1fr; overflow: auto; }
  #big, aside { height: auto; } }
"""

_BODY = """
<header><h1 id="title"></h1>
<label>verb <select id="verb"></select></label>
<label>object <select id="object"></select></label>
<label>people <select id="people"></select></label>
<label id="errors-label">errors <select id="errors"></select></label>
<span id="count" role="status"></span></header>
<main id="grid" aria-label="images"></main><div id="more"></div>
<p id="none" hidden>No image matches all filters.</p>
<dialog id="view"><div id="big"><img id="image" alt=""></div>
<aside><p><strong id="name"></strong></p><p id="facts"></p>
<h2>Annotated</h2><ul id="truth"></ul>
<div id="predictions"><h2>Predicted</h2><ul id="predicted"></ul></div>
<h2>Keys</h2><p><kbd>&larr;</kbd> <kbd>&rarr;</kbd> <kbd>&uarr;</kbd> <kbd>&darr;</kbd> move,
<kbd>Enter</kbd> open, <kbd>Esc</kbd> close, <kbd>t</kbd> annotated, <kbd>p</kbd> predicted,
<kbd>n</kbd> image alone, <kbd>/</kbd> filters</p></aside></dialog>
"""

_SCRIPT = """
const $ = (id) => document.getElementById(id), STEP = 120;
const FILTERS = ["verb", "object", "people", "errors"];
const MEANING = { wrong: "wrong predictions", missed: "not found", none: "neither" };
let rows = [], shown = 0, at = 0, show = "truth", hasPredictions = false, asked = 0;

async function ask(path) {
  const answer = await fetch(path), content = await answer.json();
  if (!answer.ok) throw new Error(content.error);
  return content;
}
function option(value, text) {
  const item = document.createElement("option");
  item.value = value; item.textContent = text;
  return item;
}
async function start() {
  const facets = await ask("/facets");
  document.title = $("title").textContent = facets.title;
  const groups = { verb: facets.verbs, object: facets.objects, people: facets.people, errors: facets.errors };
  for (const name of FILTERS) {
    $(name).append(option("", "any"));
    for (const one of groups[name]) {
      let words = (MEANING[one.name] && name === "errors" ? MEANING[one.name] : one.name).replaceAll("_", " ");
      if (name === "people" && Number(one.name) === facets.many) words += " or more";
      $(name).append(option(one.name, `${words} (${one.count})`));
    }
    $(name).addEventListener("change", refresh);
  }
  hasPredictions = facets.errors.length > 0;
  $("errors-label").hidden = $("predictions").hidden = !hasPredictions;
  const wanted = new URLSearchParams(location.hash.slice(1));
  for (const name of FILTERS) if (wanted.has(name)) $(name).value = wanted.get(name);
  await refresh();
}
async function refresh() {
  const values = new URLSearchParams(), turn = ++asked;
  for (const name of FILTERS) if ($(name).value) values.set(name, $(name).value);
  history.replaceState(null, "", "#" + values);
  const found = await ask("/images?" + values);
  if (turn !== asked) return;
  rows = found; shown = 0; at = 0;
  $("grid").replaceChildren();
  $("count").textContent = `${rows.length.toLocaleString()} images`;
  $("none").hidden = rows.length > 0;
  scrollTo(0, 0);
  extend();
}
function extend(least = 0) {
  const end = Math.min(rows.length, Math.max(shown + STEP, least));
  for (; shown < end; shown++) {
    const place = shown, button = document.createElement("button"), image = document.createElement("img");
    image.loading = "lazy"; image.alt = `image ${rows[place]}`; image.src = `/thumb/${rows[place]}`;
    button.append(image);
    button.addEventListener("click", () => open(place));
    button.addEventListener("focus", () => { at = place; });
    $("grid").append(button);
  }
}
new IntersectionObserver((seen) => { if (seen[0].isIntersecting && shown < rows.length) extend(); },
  { rootMargin: "1200px" }).observe($("more"));
function columns() { return getComputedStyle($("grid")).gridTemplateColumns.split(" ").length; }
function move(by) {
  if (!rows.length) return;
  at = Math.min(rows.length - 1, Math.max(0, at + by));
  if (at >= shown) extend(at + 1);
  const button = $("grid").children[at];
  if ($("view").open) open(at); else { button.focus(); button.scrollIntoView({ block: "nearest" }); }
}
function list(id, lines) {
  $(id).replaceChildren(...lines.map((line) => {
    const item = document.createElement("li");
    item.textContent = line.text + (line.correct === false ? (id === "truth" ? " (not found)" : " (wrong)") : "");
    if (line.correct !== null) item.className = line.correct ? "right" : "wrong";
    return item;
  }));
  if (!lines.length) $(id).textContent = "nothing";
}
async function open(place) {
  at = place;
  const row = rows[place];
  if (!$("view").open) $("view").showModal();
  $("image").src = `/image/${row}?show=${show}`;
  const about = await ask(`/details/${row}`);
  if (rows[at] !== row) return;
  $("name").textContent = about.name || `image ${about.image_id}`;
  $("image").alt = $("name").textContent;
  $("facts").textContent = `${place + 1} of ${rows.length}; image ${about.image_id}, ` +
    `${about.size[0]} x ${about.size[1]} pixels, ${about.people} people; shown: ${show || "image alone"}`;
  list("truth", about.truth); list("predicted", about.predicted);
}
$("view").addEventListener("close", () => { const button = $("grid").children[at]; if (button) button.focus(); });
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const viewing = $("view").open, across = viewing ? 1 : columns();
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across,
    PageDown: 4 * across, PageUp: -4 * across, Home: -rows.length, End: rows.length };
  const shows = { t: "truth", p: hasPredictions ? "predictions" : "truth", n: "" };
  if (event.key in steps) move(steps[event.key]);
  else if (viewing && event.key in shows) { show = shows[event.key]; open(at); }
  else if (!viewing && event.key === "/") $("verb").focus();
  else return;
  event.preventDefault();
});
start().catch((error) => { $("count").textContent = String(error); });
"""

PAGE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>hoi_jax</title>'
    '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
    f"<style>{_CSS}</style></head><body>{_BODY}<script>{_SCRIPT}</script></body></html>"
)
