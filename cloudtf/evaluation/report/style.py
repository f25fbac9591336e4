"""The style sheet of a report: for wide and narrow screens, light and dark, and for paper."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --line: #d1d9e0;
  --back: #ffffff; --stripe: #f6f8fa; --bar: #0072b2; --other: #d98200; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --soft: #9aa4af; --line: #3d444d; --back: #14171c; --stripe: #1c2128;
    --bar: #56b4e9; --other: #e69f00; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem 1rem 4rem; color: var(--ink);
  background: var(--back); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.2rem; margin: 2.25rem 0 .75rem; }
h3 { font-size: 1rem; margin: 1.25rem 0 .5rem; }
p { margin: .5rem 0; }
ol, ul { margin: .5rem 0; padding-left: 1.4rem; }
li { margin: .4rem 0; }
.soft { color: var(--soft); }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; }
table { border-collapse: collapse; width: 100%; font-size: .95rem; }
th, td { padding: .4rem .75rem; text-align: left; border-top: 1px solid var(--line); }
th { font-weight: 600; }
thead th { border-top: 0; color: var(--soft); font-size: .85rem; vertical-align: bottom; }
tbody tr:nth-child(even) { background: var(--stripe); }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.facts th { width: 35%; font-weight: 400; color: var(--soft); vertical-align: top; }
.wide th, .wide td { overflow-wrap: break-word; }
.wide td { white-space: nowrap; }
.wide .loose td { white-space: normal; }
.facts td.fact { white-space: pre-wrap; overflow-wrap: anywhere; }
.total > * { font-weight: 700; border-top: 2px solid var(--line); }
.shaded { font-size: .85rem; }
.shaded th, .shaded td { padding: .25rem .4rem; border-left: 1px solid var(--line); }
.shaded tbody th { font-weight: 400; border-left: 0; }
.shaded tbody tr:nth-child(even) { background: none; }
abbr { text-decoration: none; }
.sheet { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
.sheet + .wide, .wide + .sheet { margin-top: 1rem; }
.small { grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)); }
figure { margin: 0; }
figure.broad { grid-column: 1 / -1; }
figcaption { color: var(--soft); font-size: .85rem; margin-bottom: .25rem; }
img { display: block; max-width: 100%; height: auto; border-radius: 6px; background: #fff;
  border: 1px solid var(--line); }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: .25rem; }
.pair img { width: 100%; }
.said { font-size: .85rem; margin: .25rem 0 0; padding: 0; list-style: none; }
.said li { margin: 0; }
svg { display: block; width: 100%; height: auto; font: 11px system-ui, sans-serif; }
svg text { fill: var(--ink); stroke: var(--back); stroke-width: 3px; paint-order: stroke; }
code { font-size: .9em; white-space: nowrap; }
svg .soft { fill: var(--soft); }
svg .present { fill: var(--bar); }
svg .absent { fill: none; stroke: var(--other); }
svg line { stroke: var(--ink); }
svg .axis { stroke: var(--line); }
summary { cursor: pointer; }
details .wide { max-height: 32rem; overflow-y: auto; margin-top: .75rem; }
footer { margin-top: 2.5rem; }
@media screen and (max-width: 34rem) {
  body { padding: 1rem .5rem 3rem; }
  table, thead th { font-size: .8rem; }
  th, td { padding: .25rem .3rem; }
  .tight, .tight thead th { font-size: .7rem; }
  .tight th, .tight td { padding: .25rem .2rem; }
  .cards thead { display: none; }
  .cards, .cards tbody, .cards tr { display: block; font-size: .9rem; }
  .cards tr { padding: .4rem .6rem; border-top: 1px solid var(--line); }
  .cards tr:first-child { border-top: 0; }
  .cards th, .cards td { border: 0; padding: 0; font-size: .9rem; display: inline; }
  .cards td:not(.number)::before { content: ": "; }
  .wide .cards td.number { display: grid; grid-template-columns: 8rem 1fr; padding: .1rem 0;
    text-align: left; white-space: normal; }
  .wide .cards td.none { display: none; }
  .cards td.number::before { content: attr(data-label); color: var(--soft); }
  .name { display: none; }
}
@media print {
  :root { color-scheme: light; --ink: #000000; --soft: #404040; --line: #b0b0b0; --back: #ffffff;
    --stripe: #f3f3f3; --bar: #0072b2; --other: #b36b00; }
  body { max-width: none; padding: 0; font-size: 10.5pt; }
  h1, h2, h3, summary, thead, h2 + .soft, h3 + .soft { break-after: avoid; }
  figure, .wide, tr, li, svg, .keep { break-inside: avoid; }
  figcaption { break-after: avoid; }
  thead { display: table-header-group; }
  .wide, details .wide { overflow: visible; max-height: none; }
  .wide td { white-space: normal; }
  .sheet { grid-template-columns: 1fr 1fr; }
  .sheet + .wide, .wide + .sheet { margin-top: 1rem; }
.small { grid-template-columns: 1fr 1fr 1fr; }
  .shaded td, tbody tr, svg { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
