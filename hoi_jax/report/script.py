"""JavaScript of the report's tables: sorting and filtering.

`RULES` is pure logic without access to the page, so that any JavaScript engine can test it
(`tests/report/test_script.py`); `BEHAVIOUR` connects it to the page. Without scripts the tables are complete and in
their original order.
"""

RULES = """
const rules = {
  // Order of two keys; missing values stay at the end in either direction.
  compare(left, right, number, ascending) {
    if (left === "" || right === "") return (left === "") - (right === "");
    const order = number ? Number(left) - Number(right) : left.localeCompare(right);
    return ascending ? order : -order;
  },
  // Sort direction of a click: numbers start with the largest, words with A; a second click reverses it.
  ascending(before, number) {
    return before === null ? !number : before === "descending";
  },
  // Every word must be the beginning of a word in the texts, and every choice [cell, value] must hold.
  keeps(words, texts, choices) {
    const split = (text) => text.toLowerCase().split(/[\\s_-]+/).filter((word) => word !== "");
    const said = texts.flatMap(split);
    return split(words).every((word) => said.some((one) => one.startsWith(word))) &&
      choices.every(([cell, value]) => value === "" || cell === value);
  },
  mean(values) {
    const known = values.filter((value) => value !== "").map(Number);
    return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
  },
  figure(value, digits, signed) {
    return value === null ? "n/a" : (signed && value >= 0 ? "+" : "") + value.toFixed(digits);
  },
  distinct(values) {
    return [...new Set(values)].sort((left, right) => left.localeCompare(right));
  },
};
"""

BEHAVIOUR = """
const make = (tag, text, parent) => {
  const item = document.createElement(tag);
  if (text) item.textContent = text;
  if (parent) parent.append(item);
  return item;
};
const key = (row, column) => row.cells[column].dataset.value;

function sortable(table) {
  for (const head of table.tHead.rows[0].cells) {
    head.querySelector("button").addEventListener("click", () => {
      const number = head.classList.contains("number"), column = head.cellIndex, body = table.tBodies[0];
      const ascending = rules.ascending(head.getAttribute("aria-sort"), number);
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      const rows = Array.from(body.rows);
      rows.sort((a, b) => rules.compare(key(a, column), key(b, column), number, ascending));
      body.append(...rows);
    });
  }
}

function filtered(table) {
  const heads = Array.from(table.tHead.rows[0].cells), rows = Array.from(table.tBodies[0].rows);
  const bar = make("div"), words = make("input", "", make("label", "words ", bar)), selects = {};
  const searched = heads.filter((head) => "words" in head.dataset).map((head) => head.cellIndex);
  bar.className = "filter";
  words.type = "search";
  for (const head of heads.filter((one) => "choose" in one.dataset)) {
    const select = make("select", "", make("label", head.textContent + " ", bar));
    make("option", "any", select).value = "";
    for (const value of rules.distinct(rows.map((row) => key(row, head.cellIndex))))
      make("option", value, select).value = value;
    selects[head.cellIndex] = select;
  }
  const clear = make("button", "show all", bar), count = make("output", "", bar);
  clear.type = "button";
  const foot = heads.some((head) => "mean" in head.dataset) ? make("tr", "", table.createTFoot()) : null;
  if (foot) for (const head of heads) {
    const cell = make(head.cellIndex ? "td" : "th", "", foot);
    if (head.classList.contains("number")) cell.className = "number";
  }
  const refresh = () => {
    for (const row of rows) {
      const choices = Object.entries(selects).map(([column, one]) => [key(row, column), one.value]);
      row.hidden = !rules.keeps(words.value, searched.map((column) => key(row, column)), choices);
    }
    const shown = rows.filter((row) => !row.hidden);
    count.textContent = `${shown.length} of ${rows.length} ${table.dataset.noun}`;
    if (foot) foot.cells[0].textContent = "mean in view";
    for (const head of foot ? heads : []) if ("mean" in head.dataset) {
      const mean = rules.mean(shown.map((row) => key(row, head.cellIndex)));
      foot.cells[head.cellIndex].textContent = rules.figure(mean, Number(head.dataset.mean), "signed" in head.dataset);
    }
  };
  const reset = () => {
    words.value = "";
    for (const select of Object.values(selects)) select.value = "";
    refresh();
  };
  bar.addEventListener("input", refresh);
  clear.addEventListener("click", reset);
  bar.addEventListener("keydown", (event) => { if (event.key === "Escape") { reset(); event.preventDefault(); } });
  table.parentElement.before(bar);
  refresh();
  return words;
}

const fields = [];
for (const table of document.querySelectorAll("table.sortable")) {
  sortable(table);
  if (table.classList.contains("filtered")) fields.push(filtered(table));
}
document.addEventListener("keydown", (event) => {
  const typing = ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName);
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey || !fields.length) return;
  fields[0].focus();
  event.preventDefault();
});
"""

TABLE_SCRIPT = RULES + BEHAVIOUR
