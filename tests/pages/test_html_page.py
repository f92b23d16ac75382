"""The results page as a browser parses it: what it holds, shows and refuses."""

import base64
import hashlib
import io
import re
from collections.abc import Callable, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fgembed.pages.cards import Card, ResultRow
from fgembed.pages.html_page import write_html

Attributes = dict[str, str]
Colour = tuple[int, int, int]
RED, GREEN, BLUE = (200, 40, 40), (40, 160, 60), (50, 80, 200)
HOSTILE = "<script>alert(1)</script>\"' onerror=x &amp; a\nb \udcff </style><!-- -->.jpg"
SHOWN = r"""<script>alert(1)</script>"' onerror=x &amp; a\nb \udcff </style><!-- -->.jpg"""


class Page(HTMLParser):
    """Elements as (tag, attributes), and the text outside <style>."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, Attributes]] = []
        self.comments: list[str] = []
        self.texts: list[str] = []
        self._last = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._last = tag

    def handle_data(self, data: str) -> None:
        if self._last != "style" and data.strip():
            self.texts.append(data.strip())

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def of(self, tag: str) -> list[Attributes]:
        return [attributes for name, attributes in self.elements if name == tag]


def card(
    title: str, colour: Colour = RED, size: tuple[int, int] = (60, 40), **attributes: Any
) -> Card:
    return Card(title, Image.new("RGB", size, colour), **attributes)


def animals() -> list[ResultRow]:
    hits = [
        card("hit-same.jpg", GREEN, score=0.91234, caption="cat"),
        card("hit-other.jpg", BLUE, score=0.5, caption="dog"),
        card("hit-unknown.jpg", BLUE, score=-0.25),
    ]
    return [ResultRow(card("query.jpg", caption="cat"), hits)]


def hostile() -> list[ResultRow]:
    heat = np.ones((4, 4))
    return [
        ResultRow(
            card(HOSTILE, heat=heat, caption=HOSTILE),
            [card(HOSTILE, heat=heat, score=0.5, caption=HOSTILE)],
        )
    ]


def harmless() -> list[ResultRow]:
    heat = np.ones((4, 4))
    return [
        ResultRow(card("q", heat=heat, caption="c"), [card("h", heat=heat, score=0.5, caption="c")])
    ]


@pytest.fixture
def render(tmp_path: Path) -> Callable[..., str]:
    def render(
        rows: Sequence[ResultRow], title: str = "Cats", facts: Mapping[str, str] | None = None
    ) -> str:
        write_html(tmp_path / "page.html", rows, title, facts or {})
        return (tmp_path / "page.html").read_text(encoding="utf-8")

    return render


def pixels(attributes: Attributes) -> Image.Image:
    kind, data = attributes["src"].split(",", 1)
    assert kind == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data, validate=True)))


def centre(attributes: Attributes) -> Any:
    image = np.asarray(pixels(attributes))
    return image[image.shape[0] // 2, image.shape[1] // 2]


def test_hostile_strings_add_no_element_and_no_attribute(render):
    expected = Page(render(harmless(), "t", {"f": "v"}))
    page = Page(render(hostile(), HOSTILE, {HOSTILE: HOSTILE}))
    assert [(tag, list(names)) for tag, names in page.elements] == [
        (tag, list(names)) for tag, names in expected.elements
    ]
    assert page.comments == []


def test_hostile_strings_show_up_as_text(render):
    page = Page(render(hostile(), HOSTILE, {HOSTILE: HOSTILE}))
    # Title, heading, fact name and value, query caption and title, hit caption and title.
    assert page.texts.count(SHOWN) == 8
    assert page.of("img")[1]["alt"] == f"Query: {SHOWN}"


def test_the_page_refers_to_nothing_outside_itself(render):
    page = Page(render(harmless()))
    assert {"script", "link", "iframe", "a", "base", "form", "object"}.isdisjoint(
        tag for tag, _ in page.elements
    )
    assert all(attributes["src"].startswith("data:image/jpeg;") for attributes in page.of("img"))
    assert not re.search(r"https?:|//|url\(|@import", re.sub('src="[^"]*"', "", render(harmless())))


def test_the_policy_allows_only_this_style_sheet_and_inline_images(render):
    source = render(harmless())
    style = source.split("<style>")[1].split("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = Page(source).of("meta")[1]
    assert policy["http-equiv"] == "Content-Security-Policy"
    assert policy["content"].split("; ") == [
        "default-src 'none'",
        f"style-src 'sha256-{digest}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]


def test_no_element_needs_what_the_policy_refuses(render):
    for _, attributes in Page(render(harmless())).elements:
        assert not [name for name in attributes if name == "style" or name.startswith("on")]


def test_every_image_decodes_to_its_colour_in_order(render):
    colours = [centre(attributes) for attributes in Page(render(animals())).of("img")]
    np.testing.assert_allclose(colours, [RED, GREEN, BLUE, BLUE], atol=4)


def test_images_declare_their_size_and_their_text(render):
    image = Page(render(animals())).of("img")[1]
    assert (image["width"], image["height"]) == ("120", "80")
    assert pixels(image).size == (120, 80)
    assert image["alt"] == "Hit 1: hit-same.jpg"


def test_scores_ranks_and_names_are_printed_in_order(render):
    assert Page(render(animals())).texts[2:] == [
        *("Query", "cat", "query.jpg"),
        *("1", "0.912", "same", "cat", "hit-same.jpg"),
        *("2", "0.500", "different", "dog", "hit-other.jpg"),
        *("3", "-0.250", "hit-unknown.jpg"),
    ]


def test_bars_are_as_long_as_the_score_and_never_negative(render):
    fills = [bar["width"] for bar in Page(render(animals())).of("rect") if bar["class"] == "fill"]
    assert fills == ["91.2%", "50.0%", "0.0%"]


def test_facts_are_printed_in_order(render):
    texts = Page(render(animals(), "Cats", {"Method": "MoCo", "Backbone": "ResNet"})).texts
    assert texts[:6] == ["Cats", "Cats", "Method", "MoCo", "Backbone", "ResNet"]


def test_a_switch_reveals_heat_maps_laid_over_their_images(render):
    page = Page(render(harmless()))
    assert page.of("input") == [{"type": "checkbox", "id": "heat"}]
    image, heat = page.of("img")[1:3]
    assert heat["class"] == "heat" and heat["alt"] == "Query with heat map: q"
    assert pixels(heat).size == pixels(image).size == (120, 80)
    # 0.45 of red and 0.55 of the hottest colour, (255, 225, 30).
    np.testing.assert_allclose(centre(heat), (230, 142, 34), atol=4)
    np.testing.assert_allclose(centre(image), RED, atol=4)


def test_without_heat_maps_there_is_no_switch(render):
    assert Page(render(animals())).of("input") == []


def test_each_query_has_its_own_section(render):
    page = Page(render(animals() + animals()))
    labels = [section["aria-labelledby"] for section in page.of("section")]
    assert labels == ["query-1", "query-2"]
    assert [heading["id"] for heading in page.of("h2")] == labels


def test_the_page_names_its_language(render):
    assert Page(render(animals())).of("html") == [{"lang": "en"}]


def test_a_query_without_hits_says_so(render):
    assert "No hits." in Page(render([ResultRow(card("query.jpg"), [])])).texts


def test_a_failure_halfway_leaves_the_old_page_and_nothing_else(tmp_path):
    file = tmp_path / "page.html"
    file.write_text("old")
    encoded = io.BytesIO()
    Image.effect_noise((300, 300), 50).convert("RGB").save(encoded, "JPEG")
    broken = Card("broken.jpg", Image.open(io.BytesIO(encoded.getvalue()[:5000])))
    with pytest.raises(OSError, match="truncated"):
        write_html(file, [*animals(), ResultRow(broken, [])], "Cats", {})
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_a_page_of_no_rows_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no rows to show"):
        write_html(tmp_path / "page.html", [], "Cats", {})
    assert list(tmp_path.iterdir()) == []
