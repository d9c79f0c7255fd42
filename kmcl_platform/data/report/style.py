"""The frame and the style of all our HTML pages, light and dark. Nothing is loaded from a network."""

from html import escape

STYLE = """
:root { color-scheme: light dark; --page: #fbfbfa; --card: #fff; --ink: #1d2530; --soft: #667180; --line: #e4e6ea;
  --train: #3566a8; --val: #d9822b; --test: #4d9a73; --warn: #a3401f; --warn-back: #fdeee6; --none: #e9ebee;
  --m3: #2b5d9b; --m2: #6f9bc9; --m1: #b9d0e6; --z: #eceef0; --p1: #f8d3b0; --p2: #f0a568; --p3: #d8702c;
  --p4: #a3401f; }
@media (prefers-color-scheme: dark) { :root { --page: #14181e; --card: #1b2129; --ink: #e3e7ec; --soft: #94a0af;
  --line: #303842; --train: #6b9bdc; --val: #e79a4c; --test: #63b78c; --warn: #f0a37f; --warn-back: #3a251c;
  --none: #272e37; --m3: #7db4f0; --m2: #4f81b8; --m1: #32506f; --z: #2b323b; --p1: #5f442c; --p2: #96602f;
  --p3: #d98743; --p4: #ffb783; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 14px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 28px 24px 60px; }
h1 { font-size: 26px; line-height: 1.2; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 0 0 4px; }
h3 { font-size: 14px; margin: 18px 0 6px; }
p { margin: 0 0 12px; max-width: 80ch; }
.soft, .soft td { color: var(--soft); }
code { font: 12px ui-monospace, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 18px 20px;
  margin-top: 18px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin-top: 18px; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px; }
.tile b { display: block; font-size: 24px; line-height: 1.25; font-weight: 600; }
.tile span { color: var(--soft); font-size: 12.5px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { font-weight: 600; color: var(--soft); font-size: 12.5px; text-align: right; padding: 4px 10px;
  white-space: nowrap; }
td { text-align: right; padding: 3px 10px; border-top: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
td.name, th.name { text-align: left; }
td.name { max-width: 300px; overflow: hidden; text-overflow: ellipsis; }
.columns td:first-child { max-width: 230px; overflow: hidden; text-overflow: ellipsis; }
.columns table { width: 100%; }
.beside td, .beside th { padding-left: 6px; padding-right: 6px; }
.beside td:first-child { max-width: 190px; overflow: hidden; text-overflow: ellipsis; }
table.full td { padding-top: 2px; padding-bottom: 2px; }
td.bar { width: 18%; min-width: 80px; padding-right: 0; }
td.bar i { display: block; height: 11px; min-width: 1px; border-radius: 0 3px 3px 0; }
table.full { width: 100%; }
.train { background: var(--train); fill: var(--train); } .val { background: var(--val); fill: var(--val); }
.test { background: var(--test); fill: var(--test); }
.flag { display: inline-block; background: var(--warn-back); color: var(--warn); border-radius: 4px; padding: 0 6px;
  font-size: 12px; margin-left: 4px; }
.key { display: inline-block; width: 12px; height: 12px; border-radius: 2px; vertical-align: -1px;
  margin: 0 5px 0 14px; }
.key:first-child { margin-left: 0; }
.legend { font-size: 12.5px; color: var(--soft); margin: 6px 0 10px; }
.legend svg { vertical-align: -2px; margin: 0 4px 0 12px; }
.beside { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(460px, 100%), 1fr)); gap: 0 18px; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr)); gap: 8px 40px; }
ul { margin: 0; padding-left: 18px; }
svg { display: block; max-width: none; } .legend svg { display: inline-block; }
svg text { fill: var(--ink); font-family: inherit; } svg text.soft { fill: var(--soft); }
svg line { stroke: var(--line); }
.m3 { background: var(--m3); fill: var(--m3); } .m2 { background: var(--m2); fill: var(--m2); }
.m1 { background: var(--m1); fill: var(--m1); } .z { background: var(--z); fill: var(--z); }
.p1 { background: var(--p1); fill: var(--p1); } .p2 { background: var(--p2); fill: var(--p2); }
.p3 { background: var(--p3); fill: var(--p3); } .p4 { background: var(--p4); fill: var(--p4); }
.self { fill: none; stroke: var(--line); } .none { fill: var(--none); }
rect:hover { stroke: var(--ink); stroke-width: 1.5; }
svg text.on { fill: #fff; pointer-events: none; } svg text.in { pointer-events: none; }
@media (prefers-color-scheme: dark) { svg text.on { fill: #14181e; } }
@media print { section, .tile { break-inside: avoid; } }
"""


def html_page(title: str, body: str) -> str:
    """A whole page.

    Args:
        title: of the window, as plain text.
        body: HTML.
    """
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><main>{body}</main></body></html>\n"
    )
