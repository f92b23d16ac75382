"""A folder of embeddings is of one listing, one model and one part size."""

import json
from dataclasses import replace

import pytest

from fgembed.bundle import MODEL_FILES, Bundle
from fgembed.embedding.shard_plan import Plan, agree
from fgembed.embedding.shards import embed_into
from fgembed.errors import FgembedError, IntegrityError
from fgembed.images.sources import Listing
from tests.sealing import write_with_checksum


def test_other_images_part_sizes_and_models_are_refused(bundle, listing, tmp_path):
    opened, out = Bundle.open(bundle), tmp_path / "out"
    embed_into(out, listing, opened, part_size=12)
    fewer = Listing(listing.images[:-1])
    with pytest.raises(FgembedError, match="embeddings of 24 images, these 23 are not the same"):
        embed_into(out, fewer, opened, part_size=12)
    with pytest.raises(FgembedError, match=r"parts of 12 images, not 5; give --part-size 12"):
        embed_into(out, listing, opened, part_size=5)
    again = opened.config.files | {MODEL_FILES["fp32"]: "of another export"}
    with pytest.raises(IntegrityError, match="embeddings of another export of this model"):
        embed_into(out, listing, replace(opened, config=replace(opened.config, files=again)))
    other = replace(opened, config=replace(opened.config, preprocessing={}))
    with pytest.raises(IntegrityError, match="embeddings of another model"):
        embed_into(out, listing, other, part_size=12)
    with pytest.raises(IntegrityError, match="embeddings of an fp32 model, this is int8"):
        files = opened.config.files | {MODEL_FILES["int8"]: "of int8"}
        config = replace(opened.config, files=files)
        embed_into(out, listing, replace(opened, config=config, precision="int8"), part_size=12)
    (out / "embed.json").write_text('{"model_type": "fgembed-embeddings", "format": 1}')
    with pytest.raises(IntegrityError, match="of format 1"):
        embed_into(out, listing, opened, part_size=12)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(FgembedError, match=r"holds 'thesis.tex'"):
        embed_into(tmp_path / "mine", listing, opened)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 1}, r"of format 1, this fgembed writes 3; embed into another folder"),
        ({"part_size": "many"}, r"damaged: 'part_size' is 'many', expected int; restore it from"),
        ({"extra": 1}, r"damaged: unknown key 'extra'; restore it from a copy"),
    ],
)
def test_a_damaged_or_older_plan_is_refused_with_the_remedy(
    bundle, listing, tmp_path, change, message
):
    opened, out = Bundle.open(bundle), tmp_path / "out"
    agree(out, Plan.of(listing, opened, 12))
    content = json.loads((out / "embed.json").read_text())
    assert (content["model_type"], content["pictures"]) == ("fgembed-embeddings", 24)
    write_with_checksum(out / "embed.json", content | change)
    with pytest.raises(IntegrityError, match=message):
        embed_into(out, listing, opened, part_size=12)
