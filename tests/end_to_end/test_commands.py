"""Commands on the small workspace: what they print and how they end."""

import json
from pathlib import Path

from tests.conftest import Command


def test_search_prints_the_query_itself_first(command: Command, index: Path, photos: Path):
    picture = sorted((photos / "train").rglob("*.jpg"))[5]
    done = command("search", picture, "--index", index, "-k", 3, "--json")
    assert done.code == 0
    hits = json.loads(done.out)
    assert [hit["rank"] for hit in hits] == [1, 2, 3]
    assert hits[0]["path"] == str(picture)
    assert hits[0]["score"] > 0.9999
    assert hits[1]["score"] < 0.9999
