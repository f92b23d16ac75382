"""The model of the small index, and the proof that a change embeds nothing."""

from pathlib import Path

import pytest

from fgembed.bundle import Bundle
from fgembed.embedding.onnx_embedder import OnnxEmbedder


@pytest.fixture
def model(bundle: Path) -> Bundle:
    return Bundle.open(bundle)


@pytest.fixture
def never_embedding(image_index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From when the index is built on."""

    def refuse(*_: object) -> None:
        raise AssertionError("an image was embedded")

    monkeypatch.setattr(OnnxEmbedder, "embed", refuse)
