"""The results page: a search result as one HTML file that needs no network and runs no script.

Images are embedded in the page. Every string goes through `_escape`, and a content security policy
refuses everything that the page does not itself contain.
"""

import base64
import hashlib
import html
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from fgembed.disk.outputs import Output, opening
from fgembed.pages.cards import Card, ResultRow, agreement, score_text, thumbnail
from fgembed.pages.heat_maps import heat_overlay
from fgembed.pages.html_style import STYLE
from fgembed.text import showable

# About twice the size on screen, for dense displays.
_QUERY_SIDE = 520
_HIT_SIDE = 400
_JPEG_QUALITY = 85

# A page is known by it: every page since the first one has begun so.
_OPENING = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'sha256-"""

RESULTS_PAGE = Output(
    "a results page",
    (".html", ".htm"),
    lambda file: opening(file).startswith(_OPENING.encode()),
)


def write_html(file: Path, rows: Sequence[ResultRow], title: str, facts: Mapping[str, str]) -> None:
    """Write the page, replacing `file` only once it is complete.

    Args:
        file: Where the page goes; missing folders are made.
        rows: One or more queries with their hits, nearest first.
        title: The heading.
        facts: What produced the result, such as method, backbone and index kind, in this order.

    Raises:
        ValueError: If there are no rows.
        FgembedError: If `file` has another ending, or is there and no such page.
    """
    if not rows:
        # invariant: a search has a query
        raise ValueError("no rows to show, expected at least one; pass a row for each query")
    with RESULTS_PAGE.write(file) as page:
        for part in _parts(rows, title, facts):
            page.write(part.encode())


def _parts(rows: Sequence[ResultRow], title: str, facts: Mapping[str, str]) -> Iterator[str]:
    """The page in parts, so that a long one never has to fit into memory."""
    has_heat = any(card.heat is not None for row in rows for card in (row.query, *row.hits))
    yield _head(title)
    yield _header(title, facts)
    yield _controls() if has_heat else ""
    yield "<main>\n"
    for number, row in enumerate(rows, 1):
        yield _row(number, row)
    yield "</main>\n</body>\n</html>\n"


def _escape(text: str) -> str:
    """The text as HTML, safe between tags and inside a quoted attribute."""
    return html.escape(showable(text))


def _head(title: str) -> str:
    style_hash = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"{style_hash}'; img-src data:; base-uri 'none'; form-action 'none'"
    return f"""{_OPENING}{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{_escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
"""


def _header(title: str, facts: Mapping[str, str]) -> str:
    pairs = "".join(
        f"<div><dt>{_escape(name)}</dt><dd>{_escape(value)}</dd></div>\n"
        for name, value in facts.items()
    )
    table = f'<dl class="facts">\n{pairs}</dl>\n' if pairs else ""
    return f"<header>\n<h1>{_escape(title)}</h1>\n{table}</header>\n"


def _controls() -> str:
    """The switch that shows every heat map, and the colour scale that appears with them."""
    grey = Image.new("RGB", (220, 16), (128, 128, 128))
    ramp = heat_overlay(grey, np.linspace(0, 1, 64)[None])
    scale = _image_tag(ramp, "ramp", "from indigo over magenta to yellow")
    return f"""<div class="controls">
<label><input type="checkbox" id="heat">Heat maps</label>
<span class="scale">low {scale} high</span>
</div>
"""


def _row(number: int, row: ResultRow) -> str:
    hits = "".join(_hit(rank, row.query, hit) for rank, hit in enumerate(row.hits, 1))
    # Safari takes an unstyled list for no list unless the role is spelled out.
    listed = f'<ol class="hits" role="list">\n{hits}</ol>' if hits else "<p>No hits.</p>"
    return f"""<section class="row" aria-labelledby="query-{number}">
{_query(number, row.query)}{listed}
</section>
"""


def _query(number: int, query: Card) -> str:
    return f"""<div class="query"><figure>
{_frame(query, _QUERY_SIDE, "Query")}<figcaption>
<p class="kind">Query</p>
<h2 id="query-{number}">{_escape(query.caption or query.title)}</h2>
{_paragraph("name", query.title if query.caption else "")}</figcaption>
</figure></div>
"""


def _hit(rank: int, query: Card, hit: Card) -> str:
    mark = agreement(query, hit)
    return f"""<li><figure>
{_frame(hit, _HIT_SIDE, f"Hit {rank}")}<figcaption>
<p class="figures"><span class="rank">{rank}</span>
<span class="score">{score_text(hit)}</span>
{f'<span class="mark {mark}">{mark}</span>' if mark else ""}</p>
{_bar(hit)}{_paragraph("caption", hit.caption)}{_paragraph("name", hit.title)}</figcaption>
</figure></li>
"""


def _paragraph(kind: str, text: str) -> str:
    return f'<p class="{kind}">{_escape(text)}</p>\n' if text else ""


def _bar(hit: Card) -> str:
    """The score from 0 to 1 as a line. SVG, because the policy refuses style attributes."""
    if hit.score is None:
        return ""
    share = 100 * min(max(hit.score, 0.0), 1.0)
    return (
        '<svg class="bar" aria-hidden="true"><rect class="track" width="100%" height="100%"/>'
        f'<rect class="fill" width="{share:.1f}%" height="100%"/></svg>\n'
    )


def _frame(card: Card, side: int, role: str) -> str:
    """The image and, stacked over it, its heat map."""
    small = thumbnail(card.image, side)
    tags = _image_tag(small, "image", f"{role}: {card.title}")
    if card.heat is not None:
        overlaid = heat_overlay(small, card.heat)
        tags += _image_tag(overlaid, "heat", f"{role} with heat map: {card.title}")
    return f'<div class="frame">\n{tags}</div>\n'


def _image_tag(image: Image.Image, kind: str, text: str) -> str:
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=_JPEG_QUALITY)
    data = base64.b64encode(encoded.getvalue()).decode()
    return (
        f'<img class="{kind}" alt="{_escape(text)}" width="{image.width}" height="{image.height}"'
        f' src="data:image/jpeg;base64,{data}">\n'
    )
