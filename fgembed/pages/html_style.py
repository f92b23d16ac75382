"""The style sheet of the results page; `html_page` inlines it and pins its hash."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #fbfaf8; --ink: #1d1c1a; --quiet: #6a6762; --line: #e5e2dc; --fill: #8a857d;
}
@media (prefers-color-scheme: dark) {
  :root { --page: #151515; --ink: #ebe9e5; --quiet: #9c9890; --line: #2e2d2b; --fill: #7d7972; }
}
*, ::before, ::after { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 1480px; padding: 0 clamp(16px, 3.2vw, 48px) 64px;
  background: var(--page); color: var(--ink);
  font: 14px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  -webkit-text-size-adjust: 100%; text-size-adjust: 100%;
}
h1, h2, p, dl, dd, ol, figure { margin: 0; padding: 0; }
h1 { font-size: 24px; line-height: 1.25; font-weight: 600; letter-spacing: -0.012em; }
h1, h2, dd, .caption, .name { overflow-wrap: anywhere; }

header { padding: clamp(24px, 4vw, 44px) 0 20px; }
.facts { display: flex; flex-wrap: wrap; gap: 12px 36px; margin-top: 18px; }
.facts dt, .kind { color: var(--quiet); font-size: 12px; }
.facts dd { font-variant-numeric: tabular-nums; }

.controls {
  position: sticky; top: 0; z-index: 1; display: flex; align-items: center;
  justify-content: space-between; gap: 24px; min-height: 46px; background: var(--page);
  border-bottom: 1px solid var(--line);
}
.controls label {
  display: inline-flex; align-items: center; gap: 10px; min-height: 44px; cursor: pointer;
}
.controls input { width: 17px; height: 17px; margin: 0; accent-color: var(--ink); }
.controls input:focus-visible { outline: 2px solid var(--ink); outline-offset: 3px; }
.scale { display: flex; align-items: center; gap: 8px; color: var(--quiet); font-size: 12px; }
.scale img { display: block; width: 110px; height: 8px; border-radius: 2px; }

.row {
  display: grid; grid-template-columns: minmax(180px, 19%) 1fr; gap: 40px;
  padding: 32px 0 48px; border-top: 1px solid var(--line);
}
.controls + main .row:first-child { border-top: 0; }
.query { position: sticky; top: 62px; align-self: start; }
.query h2 { font-size: 16px; line-height: 1.35; font-weight: 600; }
.query figcaption { padding-top: 12px; }
.hits {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr));
  gap: 32px 22px; list-style: none;
}

.frame { position: relative; aspect-ratio: 1; }
.frame img {
  position: absolute; left: 0; bottom: 0; width: auto; height: auto;
  max-width: 100%; max-height: 100%; border-radius: 3px;
}
.heat, .scale { visibility: hidden; opacity: 0; transition: opacity 0.18s; }
body:has(#heat:checked) :is(.heat, .scale) { visibility: visible; opacity: 1; }

.figures { display: flex; align-items: baseline; gap: 8px; padding-top: 9px; }
.rank { color: var(--quiet); }
.rank, .score { font-variant-numeric: tabular-nums; }
.score { font-weight: 600; }
.mark { margin-left: auto; color: var(--quiet); font-size: 12px; white-space: nowrap; }
.mark::before {
  content: ""; display: inline-block; width: 8px; height: 8px; margin-right: 5px;
  border: 1.5px solid currentColor; border-radius: 50%;
}
.mark.same { color: var(--ink); }
.mark.same::before { background: currentColor; }
.bar { display: block; width: 100%; height: 2px; margin: 6px 0 8px; }
.track { fill: var(--line); }
.fill { fill: var(--fill); }
.caption { line-height: 1.35; }
.name { color: var(--quiet); font-size: 12px; }

@media (max-width: 720px) {
  .row { grid-template-columns: minmax(0, 1fr); gap: 28px; padding: 24px 0 40px; }
  .query { position: static; }
  .query figure { display: grid; grid-template-columns: 1fr 1fr; gap: 14px; align-items: end; }
  .query figcaption { padding: 0; }
  .hits { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 28px 14px; }
  .facts { display: grid; grid-template-columns: 1fr 1fr; gap: 12px 14px; }
}
@media (prefers-reduced-motion: reduce) { .heat, .scale { transition: none; } }
@media print {
  .controls, .query { position: static; }
  .hits li { break-inside: avoid; }
}
"""
