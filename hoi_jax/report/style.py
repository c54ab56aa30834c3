"""The look of the report (CSS), inside the page."""

CSS = """
:root { --ink: #1b1f24; --soft: #4c5561; --rule: #d9dee5; --paper: #ffffff; --tint: #f4f6f9;
  --accent: #005fa3; --right: #0c7c36; --wrong: #c81e2d; --missed: #7e3aad; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main, header, footer { max-width: 1120px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 36px; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 8px; }
h2 { font-size: 1.3rem; margin: 44px 0 10px; padding-top: 14px; border-top: 1px solid var(--rule); }
h3 { font-size: 1.05rem; margin: 22px 0 6px; }
p { margin: 8px 0; max-width: 75ch; }
a { color: var(--accent); }
nav { margin: 14px 0 0; }
nav a { margin-right: 14px; }
footer { color: var(--soft); padding-bottom: 40px; margin-top: 48px; font-size: .9rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(220px, 1fr)); gap: 14px;
  margin-top: 20px; }
.card { background: var(--tint); border: 1px solid var(--rule); border-radius: 10px; padding: 16px 18px; }
.card .name { font-weight: 600; }
.card .value { font-size: 2.1rem; line-height: 1.2; font-weight: 650; font-variant-numeric: tabular-nums; }
.card .value small { font-size: 1rem; font-weight: 400; color: var(--soft); }
.card .why { color: var(--soft); font-size: .92rem; margin: 4px 0 0; }
.scroll { overflow-x: auto; max-height: 70vh; border: 1px solid var(--rule); border-radius: 8px;
  margin: 12px 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 7px 12px; border-bottom: 1px solid var(--rule); vertical-align: top; }
tbody tr:last-child > * { border-bottom: 0; }
thead th { position: sticky; top: 0; background: var(--tint); white-space: nowrap; }
td.number, th.number { text-align: right; white-space: nowrap; }
th button { all: unset; cursor: pointer; font: inherit; font-weight: 600; }
th button:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
th button::after { content: " \\2195"; color: var(--soft); }
th[aria-sort="ascending"] button::after { content: " \\2191"; color: var(--ink); }
th[aria-sort="descending"] button::after { content: " \\2193"; color: var(--ink); }
table.filtered { font-size: .94rem; }
table.filtered th, table.filtered td { padding: 5px 9px; white-space: nowrap; }
tbody tr:hover > * { background: var(--tint); }
tfoot td, tfoot th { position: sticky; bottom: 0; background: var(--tint); border-top: 1px solid var(--rule);
  font-weight: 600; }
.filter { display: flex; flex-wrap: wrap; gap: 8px 14px; align-items: center; margin: 12px 0 0; }
.filter label { color: var(--soft); font-size: .92rem; }
.filter input, .filter select, .filter button { font: inherit; font-size: .92rem; padding: 4px 8px; color: var(--ink);
  background: var(--paper); border: 1px solid var(--soft); border-radius: 6px; max-width: 230px; }
.filter :focus-visible, .scroll:focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
.filter output { margin-left: auto; font-variant-numeric: tabular-nums; }
kbd { border: 1px solid var(--rule); border-radius: 4px; padding: 0 5px; background: var(--tint); font-size: .88em; }
.bars { display: grid; grid-template-columns: max-content minmax(60px, 1fr) max-content; gap: 3px 10px;
  align-items: center; margin: 6px 0; max-width: 620px; }
.bars .bar { height: 14px; border-radius: 3px; min-width: 1px; }
.bars .value { text-align: right; font-variant-numeric: tabular-nums; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); gap: 20px; }
figure { margin: 0; }
.chart { border: 1px solid var(--rule); border-radius: 10px; padding: 14px; }
.chart figcaption { font-weight: 600; margin-bottom: 6px; }
svg { width: 100%; height: auto; display: block; }
svg text { font: 13px system-ui, sans-serif; fill: var(--soft); }
svg.square { max-width: 440px; margin: 0 auto; }
svg .grid { stroke: var(--rule); } svg .tick, svg .axis { stroke: var(--soft); fill: none; }
svg .fill { fill: #9cc3e6; stroke: var(--accent); } svg .ideal { stroke: var(--soft); stroke-dasharray: 5 4; }
svg .mark { fill: var(--wrong); }
svg .line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.legend { list-style: none; margin: 8px 0 0; padding: 0; display: flex; flex-wrap: wrap; gap: 4px 16px;
  font-size: .9rem; }
.swatch { display: inline-block; width: 14px; height: 4px; border-radius: 2px; margin-right: 6px;
  vertical-align: middle; }
.example { border: 1px solid var(--rule); border-left-width: 6px; border-radius: 8px; padding: 14px;
  margin: 16px 0; }
.example.right { border-left-color: var(--right); } .example.wrong { border-left-color: var(--wrong); }
.example.missed { border-left-color: var(--missed); } .example.plain { border-left-color: var(--soft); }
.example h3 { margin: 0 0 4px; } .example > p { margin: 0 0 10px; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 320px), 1fr)); gap: 12px; }
.pair img { width: 100%; height: auto; display: block; border-radius: 4px; }
.pair figcaption { color: var(--soft); font-size: .9rem; margin-top: 4px; }
.key { display: inline-block; width: 12px; height: 12px; border: 3px solid; margin: 0 4px 0 10px;
  vertical-align: -1px; }
details { border: 1px solid var(--rule); border-radius: 8px; padding: 10px 14px; margin: 12px 0; }
summary { cursor: pointer; font-weight: 600; }
pre { overflow-x: auto; margin: 10px 0 0; font-size: .86rem; line-height: 1.45; }
@media (max-width: 600px) { body { font-size: 15px; } h1 { font-size: 1.5rem; } th, td { padding: 6px 8px; } }
@media print { .scroll { max-height: none; overflow: visible; } .example, .chart { break-inside: avoid; } }
"""
