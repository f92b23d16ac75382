"""Proving an index, and finding copies in it."""

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from fgembed.bundle import Bundle
from fgembed.files import sha256
from fgembed.images import find_images
from fgembed.index.change import add_pictures
from fgembed.index.duplicates import duplicates
from fgembed.index.verify import verify
from tests.index.making import listed, open_index, unit_vectors


def test_copies_are_found_by_content_and_by_score(gallery: Path, own: Path, bundle: Path):
    pictures = find_images(own)[0]
    shutil.copy(pictures[0], own / "copy.jpg")
    shutil.copy(pictures[0], own / "again.jpg")
    Image.open(pictures[8]).save(own / "near.jpg", quality=80)
    add_pictures(gallery, own, Bundle.open(bundle))
    index = open_index(gallery)
    (group,) = duplicates(index, None)
    assert group.exact
    names = {index.paths([one])[one].name for one in group.ids}
    assert names == {pictures[0].name, "copy.jpg", "again.jpg"}
    numbers = listed(gallery)
    pair = [numbers[pictures[8]], numbers[own / "near.jpg"]]
    score = float(np.prod([1.0])) * float(
        index.reconstruct(np.array(pair[:1]))[0] @ index.reconstruct(np.array(pair[1:]))[0]
    )
    near = [one for one in duplicates(index, score - 1e-4) if not one.exact]
    assert any(set(pair) <= set(one.ids) for one in near)
    assert all(one.score >= score - 1e-4 for one in near)
    assert not any(set(pair) <= set(one.ids) for one in duplicates(index, score + 1e-4))


def test_verify_finds_what_is_wrong(gallery: Path, own: Path, bundle: Path):
    from fgembed.index.made_with import find_bundle

    found = verify(gallery, lambda manifest: find_bundle(gallery, manifest, bundle))
    assert found.problems == []
    assert (found.files, found.searched, found.embedded) == (3, 24, 8)
    assert found.self_found == 1.0
    file = gallery / "seg-000001" / "vectors.npy"
    manifest = gallery / "manifest.json"
    original = np.load(file)

    def rewritten(vectors: np.ndarray) -> list[str]:
        np.save(file, vectors)
        content = json.loads(manifest.read_text())
        content["segments"][0]["files"]["seg-000001/vectors.npy"] = sha256(file)
        manifest.write_text(json.dumps(content))
        return verify(gallery, lambda m: find_bundle(gallery, m, bundle)).problems

    assert any("gives another vector" in one for one in rewritten(np.roll(original, 1, axis=0)))
    assert any("not of length 1" in one for one in rewritten(original * 1.5))
    other = unit_vectors(24, original.shape[1]).astype(np.float32)
    assert any("gives another vector" in one for one in rewritten(other))
    assert rewritten(original) == []
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**content, "next_id": 5}))
    assert verify(gallery).problems == ["id 23 is not below the next one, 5"]
