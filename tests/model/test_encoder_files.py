"""Encoders on disk: what is written is read back, and so are the formats before."""

import json
from pathlib import Path

import pytest
import torch

from fgembed.backbones import make_backbone
from fgembed.disk.sealed_files import KEY, write_sealed_json
from fgembed.errors import IntegrityError
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.encoder import Encoder
from fgembed.model.encoder_files import load_encoder, save_encoder
from fgembed.model.pooling import GeMPooling
from fgembed.model.reading.multi_level import Reading
from fgembed.model.reading.whitening import Whitening
from fgembed.workspace import EncoderFolder
from tests.conftest import TINY

SPEC = Preprocessing(size=32)
IMAGES = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def encoder(mean_beside: bool) -> Encoder:
    torch.manual_seed(0)
    reading = Reading((0.5,), 0.25, mean_beside, mirror=True)
    whitening = Whitening(128 + 64 + 64 * mean_beside, 8)
    whitening.mean.normal_()
    whitening.projection.normal_()
    return Encoder(make_backbone(TINY), GeMPooling(), whitening, reading).eval()


@torch.no_grad()
@pytest.mark.parametrize("mean_beside", [False, True])
def test_a_saved_encoder_is_read_with_its_reading_and_vectors(tmp_path: Path, mean_beside: bool):
    saved = encoder(mean_beside)
    save_encoder(tmp_path, saved, SPEC)
    loaded, spec = load_encoder(tmp_path)
    assert (loaded.reading, spec) == (saved.reading, SPEC)
    torch.testing.assert_close(loaded(IMAGES), saved(IMAGES))


@torch.no_grad()
@pytest.mark.parametrize("earlier", [2, 3])
def test_an_encoder_of_an_earlier_format_has_no_mean_beside_its_levels(
    tmp_path: Path, earlier: int
):
    saved = encoder(mean_beside=False)
    save_encoder(tmp_path, saved, SPEC)
    file = EncoderFolder(tmp_path).description
    content = json.loads(file.read_text())
    assert content["format"] == 4
    del content["mean_beside"], content[KEY]
    content["format"] = earlier
    if earlier == 2:  # without a checksum
        file.write_text(json.dumps(content))
    else:
        write_sealed_json(file, content)
    loaded, _ = load_encoder(tmp_path)
    assert loaded.reading == Reading((0.5,), 0.25, mean_beside=False, mirror=True)
    torch.testing.assert_close(loaded(IMAGES), saved(IMAGES))


@pytest.mark.parametrize("sealed", [3, 4])
def test_a_description_that_lost_its_checksum_is_refused(tmp_path: Path, sealed: int):
    save_encoder(tmp_path, encoder(mean_beside=False), SPEC)
    file = EncoderFolder(tmp_path).description
    content = json.loads(file.read_text()) | {"format": sealed}
    del content[KEY]
    file.write_text(json.dumps(content))
    with pytest.raises(IntegrityError, match=r"encoder\.json is damaged"):
        load_encoder(tmp_path)
