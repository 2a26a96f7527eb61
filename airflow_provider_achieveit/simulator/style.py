"""The style sheet of the simulator's pages, for light and dark."""

CSS = """
:root { color-scheme: light dark; --ground: #f6f7f9; --card: #fff; --ink: #1c2430; --faint: #697386; --line: #e4e8ee;
  --accent: #2f6fde; --good: #17834b; --warn: #9a6700; --bad: #c0322b; --idle: #667085; --own: #2f6fde }
@media (prefers-color-scheme: dark) { :root { --ground: #10151c; --card: #181f29; --ink: #e6eaf0; --faint: #93a0b4;
  --line: #2a3442; --accent: #7aa7ff; --good: #4cc38a; --warn: #e3b341; --bad: #ff7b72; --idle: #9aa7b8; --own:
  #7aa7ff } }
* { box-sizing: border-box }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 14px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif }
header { display: flex; flex-wrap: wrap; gap: 8px 24px; align-items: baseline; justify-content: space-between;
  padding: 20px 32px 0; max-width: 1440px; margin: auto }
main { padding: 16px 32px 48px; max-width: 1440px; margin: auto }
h1 { font-size: 20px; margin: 0; letter-spacing: -.01em } h2 { font-size: 16px; margin: 0 }
nav { display: flex; gap: 16px } a { color: var(--accent); text-decoration: none } a:hover { text-decoration:
  underline }
section, .tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px }
section { padding: 16px 20px; margin-top: 16px }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 12px }
.tile { padding: 12px 16px } .tile b { display: block; font-size: 22px; font-variant-numeric: tabular-nums }
.tile span, .note, .faint, small { color: var(--faint) }
.note { margin: 2px 0 10px } small { display: block; overflow-wrap: anywhere }
.scroll { overflow-x: auto } table { border-collapse: collapse; width: 100% }
th { text-align: left; font-weight: 500; color: var(--faint); font-size: 12px; white-space: nowrap }
th.number { text-align: right }
th, td { padding: 6px 16px 6px 0; border-bottom: 1px solid var(--line); vertical-align: top }
tbody tr:last-child td { border-bottom: 0 }
.number { font-variant-numeric: tabular-nums; text-align: right; white-space: nowrap } .when { min-width: 150px }
.name { min-width: 220px } .depth0 .name { font-weight: 650 } .depth1 .name { padding-left: 16px; font-weight: 550 }
.depth2 .name { padding-left: 32px } .depth3 .name { padding-left: 48px } .file { overflow-wrap: anywhere;
  min-width: 160px }
code, pre { font: 12px/1.6 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace }
td code { color: var(--faint); white-space: nowrap }
.badge { display: inline-block; padding: 0 9px; border-radius: 99px; font-size: 12px; line-height: 20px;
  font-weight: 550;
  white-space: nowrap; color: var(--tone); background: color-mix(in srgb, var(--tone) 13%, transparent) }
.good { --tone: var(--good) } .warn { --tone: var(--warn) } .bad { --tone: var(--bad) } .idle { --tone: var(--idle) }
.own { --tone: var(--own) }
.bar { width: 96px; height: 5px; margin: 3px 0 0 auto; border-radius: 3px; background: var(--line); overflow: hidden }
.bar i { display: block; height: 100%; background: var(--accent) }
ul { margin: 4px 0 0; padding-left: 18px; color: var(--bad); overflow-wrap: anywhere }
details { border-top: 1px solid var(--line); padding: 8px 0 } summary { cursor: pointer; overflow-wrap: anywhere }
pre { margin: 6px 0 0; padding: 10px 12px; background: var(--ground); border-radius: 8px; overflow-x: auto }
"""
