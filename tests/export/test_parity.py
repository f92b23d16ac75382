"""Parity must fail on graphs that are not the encoder."""

import copy
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

import fgembed
from fgembed.backbones import make_backbone
from fgembed.bundle import Bundle, BundleConfig
from fgembed.embedding.onnx_embedder import OnnxEmbedder
from fgembed.errors import FgembedError, IntegrityError, NotFoundError
from fgembed.export import write_bundle
from fgembed.export.parity import compare_neighbours, measure_parity, parity_images
from fgembed.export.run_source import Source
from fgembed.export.to_onnx import OPSET, write_onnx
from fgembed.export.write_bundle import export_bundle
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.encoder import Encoder, PixelEncoder
from fgembed.model.encoder_files import load_encoder
from fgembed.model.pooling import MeanPooling, RationalePooling


@pytest.mark.slow
def test_attention_with_relative_positions_is_exported(tmp_path: Path):
    spec = Preprocessing(size=32)
    encoder = Encoder(make_backbone("timm/test_vit_relpos", size=32), MeanPooling()).eval()
    write_onnx(encoder, spec, tmp_path / "model.onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    embedder = OnnxEmbedder(tmp_path / "model.onnx", spec, "cpu")
    measure_parity(PixelEncoder(encoder, spec).eval(), embedder, pixels).enforce()


def test_the_bundle_takes_any_batch_and_gives_torch_s_vectors(bundle: Path, run: Path):
    opened = Bundle.open(bundle, every_file=True)
    encoder, spec = load_encoder(run)
    assert encoder.reading.mean_beside
    pixels = np.random.default_rng(0).integers(0, 256, (33, 64, 64, 3), dtype=np.uint8)
    embedder = OnnxEmbedder(opened.model, spec, "cpu")
    with torch.inference_mode():
        expected, maps = PixelEncoder(encoder, spec).eval()(torch.from_numpy(pixels))
    for count in (1, 2, 7, 33):
        vectors, rationales = embedder.run(pixels[:count])
        np.testing.assert_allclose(vectors, expected[:count], atol=2e-5)
        np.testing.assert_allclose(rationales, maps[:count], atol=2e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_the_graph_states_its_inputs_and_outputs(bundle: Path):
    graph = onnx.load(bundle / "onnx" / "model.onnx")
    onnx.checker.check_model(graph, full_check=True)
    assert graph.opset_import[0].version == OPSET
    image = graph.graph.input[0]
    assert (image.name, image.type.tensor_type.elem_type) == ("image", onnx.TensorProto.UINT8)
    sizes = [side.dim_value or side.dim_param for side in image.type.tensor_type.shape.dim]
    assert sizes == ["batch", 64, 64, 3]
    assert [output.name for output in graph.graph.output] == ["embedding", "rationale"]


def test_the_graph_holds_no_paths_of_the_exporting_machine(bundle: Path):
    content = (bundle / "onnx" / "model.onnx").read_bytes()
    for message in (b"stack_trace", b".py", str(Path(fgembed.__file__).parents[1]).encode()):
        assert message not in content


@pytest.mark.parametrize("fault", ["pooling", "levels", "mean beside", "mirror"])
def test_a_graph_that_is_not_torch_s_is_refused(fault: str, bundle: Path, run: Path, photos: Path):
    """The exported file against an encoder that differs in one way."""
    encoder, spec = load_encoder(run)
    pixels = parity_images(photos / "test", spec)
    embedder = OnnxEmbedder(Bundle.open(bundle).model, spec, "cpu")
    if fault == "pooling":
        encoder = read_by_the_mean(encoder)
    elif fault == "levels":
        assert encoder.levels is not None
        encoder.levels.centre.zero_()
    elif fault == "mean beside":
        assert encoder.levels is not None
        encoder.levels.weights[-1] = 0.5
    else:
        encoder.reading = replace(encoder.reading, mirror=False)
    with pytest.raises(IntegrityError, match="does not agree with torch"):
        measure_parity(PixelEncoder(encoder, spec).eval(), embedder, pixels).enforce()


def without_input_normalisation(encoder: Encoder, spec: Preprocessing, file: Path) -> None:
    write_onnx(encoder, replace(spec, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)), file)


def without_unit_length(encoder: Encoder, spec: Preprocessing, file: Path) -> None:
    longer = copy.deepcopy(encoder)
    finish = longer.finish
    longer.finish = lambda pooled: 1.01 * finish(pooled)  # type: ignore[method-assign]
    write_onnx(longer, spec, file)


def with_swapped_channels(encoder: Encoder, spec: Preprocessing, file: Path) -> None:
    swapped = copy.deepcopy(encoder)
    first = next(module for module in swapped.modules() if isinstance(module, torch.nn.Conv2d))
    first.weight.data = first.weight.data.flip(1)
    write_onnx(swapped, spec, file)


def with_a_fixed_batch(encoder: Encoder, spec: Preprocessing, file: Path) -> None:
    write_onnx(encoder, spec, file)
    graph = onnx.load(file)
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(graph, file)


def with_a_rationale_scaled_over_the_batch(
    encoder: Encoder, spec: Preprocessing, file: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            RationalePooling, "read", lambda _, response: (response - response.mean()).relu()
        )
        write_onnx(encoder, spec, file)


def without_whitening(encoder: Encoder, spec: Preprocessing, file: Path) -> None:
    plain = copy.deepcopy(encoder)
    plain.whitening = None
    write_onnx(plain, spec, file)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (without_input_normalisation, "min_cosine"),
        (without_unit_length, "max_difference"),
        (with_swapped_channels, "min_cosine"),
        (with_a_fixed_batch, "does not run on a batch of 1"),
        (with_a_rationale_scaled_over_the_batch, "m"),
        (without_whitening, "where torch gives"),
    ],
)
def test_a_broken_graph_is_no_bundle(
    broken: Callable[[Encoder, Preprocessing, Path], None],
    message: str,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    def write(encoder: Encoder, spec: Preprocessing, file: Path, *, dynamic_size: bool) -> None:
        broken(encoder, spec, file)

    monkeypatch.setattr(write_bundle, "write_onnx", write)
    with pytest.raises(IntegrityError, match=f"(?s){message}.*no bundle was written.*; report it"):
        export_bundle(Source.open(run), tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [{"resample": "lanczos"}, {"fit": "crop"}, {"draft": 1}])
def test_a_bundle_that_states_another_preprocessing_is_refused(
    wrong: dict[str, Any], run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "photos").mkdir()
    for number in range(4):  # large enough that a reduced decoding is another image
        noise = np.random.default_rng(number).integers(0, 256, (300, 400, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "photos" / f"{number}.jpg")
    described = write_bundle._describe

    def describe(*arguments: Any) -> BundleConfig:
        config = described(*arguments)
        return replace(config, preprocessing=config.preprocessing | wrong)

    monkeypatch.setattr(write_bundle, "_describe", describe)
    with pytest.raises(IntegrityError, match="does not agree with torch"):
        export_bundle(Source.open(run), tmp_path / "bundle", tmp_path / "photos")
    assert not (tmp_path / "bundle").exists()


def read_by_the_mean(encoder: Encoder) -> Encoder:
    """The same with another pooling of the last map."""
    other = copy.deepcopy(encoder)
    other.pooling = MeanPooling()
    return other


def test_swapping_near_neighbours_counts_little_and_far_neighbours_much():
    def at(*degrees: float) -> np.ndarray:
        radians = np.radians(degrees)
        return np.stack([np.cos(radians), np.sin(radians)], axis=1)

    same = compare_neighbours(at(0, 10, 40), at(0, 10, 40))
    assert same == (1.0, 1.0, 0.0)
    top1, top10, gap = compare_neighbours(at(0, 10, 40), at(0, 50, 40))
    assert top1 == pytest.approx(1 / 3)
    assert top10 == 1.0
    assert gap == pytest.approx(np.cos(np.radians(10)) - np.cos(np.radians(40)))


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, NotFoundError, "is not finished; finish it with"),
        ("{}", IntegrityError, "is damaged: KeyError"),
        ('{"images": "many"}', IntegrityError, "is damaged; measure it again with"),
        ('{"images": 3, "table": {"rows": 3}}', IntegrityError, "is damaged: TypeError"),
        ('{"images": 3, "selected": 4}', IntegrityError, "is damaged: TypeError"),
    ],
)
def test_a_run_without_a_sound_report_is_refused_with_the_remedy(
    content: str | None, error: type[FgembedError], message: str, run: Path, tmp_path: Path
):
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    (copied / "report.json").unlink()
    if content is not None:
        (copied / "report.json").write_text(content)
    with pytest.raises(error, match=message) as refusal:
        Source.open(copied, start=True)
    assert "fgembed train --resume --run" in str(refusal.value)


def test_a_foreign_folder_is_not_replaced(run: Path, tmp_path: Path):
    (tmp_path / "photo.jpg").write_bytes(b"")
    with pytest.raises(FgembedError, match=r"holds 'photo\.jpg'"):
        export_bundle(Source.open(run), tmp_path)


def test_the_model_card_shows_the_floor_beside_the_score(bundle: Path):
    card = (bundle / "README.md").read_text()
    table = [line for line in card.splitlines() if line.startswith("| untouched") or "run " in line]
    assert table[0].startswith("| untouched start, mean pooling | 64 |")
    assert table[1].startswith("| untouched start, mean pooling + mirror | 64 |")
    assert table[2].startswith("| untouched start, GeM + whitening | 16 |")
    assert table[4].startswith("| untouched start, fitted reading + mirror | 16 |")
    assert table[5].startswith("| run tiny | 16 |")
