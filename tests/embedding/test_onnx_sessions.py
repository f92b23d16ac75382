"""Sessions: what was asked for or a refusal, and a graph that is optimised once."""

import os
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from fgembed.bundle import CACHE, Bundle
from fgembed.disk.files import sha256
from fgembed.disk.temporaries import host_digest
from fgembed.doctor import IDENTITY_MODEL
from fgembed.embedding.onnx_embedder import CPU_BATCH, OnnxEmbedder
from fgembed.embedding.onnx_sessions import TENSORRT, open_session
from fgembed.errors import ConfigError, DeviceError, IntegrityError

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)


@pytest.fixture
def own(bundle: Path, tmp_path: Path) -> Bundle:
    """A copy of the bundle without what other tests made of it."""
    shutil.copytree(bundle, tmp_path / "bundle", ignore=shutil.ignore_patterns(CACHE))
    return Bundle.open(tmp_path / "bundle")


def graphs(bundle: Bundle) -> list[Path]:
    return sorted((bundle.folder / CACHE).iterdir())


def test_the_optimised_graph_is_kept_and_gives_the_same_vectors(own):
    plain = OnnxEmbedder(own.model, own.preprocessing, "cpu")
    first = OnnxEmbedder.of(own, "cpu")
    (kept,) = graphs(own)
    written = kept.stat().st_mtime_ns
    own.model.rename(own.model.with_suffix(".away"))  # opened from the kept graph alone
    second = OnnxEmbedder.of(own, "cpu")
    assert [file.stat().st_mtime_ns for file in graphs(own)] == [written]
    for embedder in (first, second):
        for expected, actual in zip(plain.run(PIXELS), embedder.run(PIXELS), strict=True):
            np.testing.assert_array_equal(actual, expected)


def test_a_damaged_or_foreign_kept_graph_is_made_anew(own):
    expected = OnnxEmbedder.of(own, "cpu").vectors(PIXELS)
    (kept,) = graphs(own)
    content = kept.read_bytes()
    for wrong in (b"", content[:1000], bytes([content[0] ^ 1]) + content[1:], IDENTITY_MODEL):
        kept.write_bytes(wrong)
        np.testing.assert_array_equal(OnnxEmbedder.of(own, "cpu").vectors(PIXELS), expected)
        (kept,) = graphs(own)
        assert sha256(kept)[:32] in kept.name
    kept.rename(kept.with_name(kept.name.replace(onnxruntime.__version__, "1.0.0")))
    OnnxEmbedder.of(own, "cpu")
    assert [onnxruntime.__version__ in file.name for file in graphs(own)] == [True]


def test_a_bundle_that_may_only_be_read_is_used_without_keeping(own):
    (own.folder / CACHE).write_text("in the way")
    plain = OnnxEmbedder(own.model, own.preprocessing, "cpu")
    np.testing.assert_array_equal(
        OnnxEmbedder.of(own, "cpu").vectors(PIXELS), plain.vectors(PIXELS)
    )


def test_a_kept_graph_that_cannot_be_read_is_done_without(own):
    expected = OnnxEmbedder.of(own, "cpu").vectors(PIXELS)
    (kept,) = graphs(own)
    for make in (kept.mkdir, lambda: kept.symlink_to("nowhere")):
        kept.unlink()
        make()
        np.testing.assert_array_equal(OnnxEmbedder.of(own, "cpu").vectors(PIXELS), expected)
        if kept.is_dir():
            kept.rmdir()
            kept.touch()


def test_what_a_killed_writer_left_is_swept(own):
    OnnxEmbedder.of(own, "cpu")
    (kept,) = graphs(own)
    stem = kept.name.partition(f"{onnxruntime.__version__}-")[0]
    kept.unlink()
    # Of an earlier process of our number.
    left = kept.with_name(f".{stem}.tmp-{host_digest()}-{os.getpid()}-00000000")
    left.touch()
    OnnxEmbedder.of(own, "cpu")
    assert not left.exists() and len(graphs(own)) == 1


def test_another_export_does_not_open_the_graph_of_the_last(own, tmp_path):
    OnnxEmbedder.of(own, "cpu")
    other = own.optimised_graphs.with_name("f" * 16)
    own.model.write_bytes(b"no graph")
    with pytest.raises(IntegrityError, match="cannot load"):
        open_session(own.model, "cpu", 1, other)
    assert len(graphs(own)) == 1


def test_bulk_is_for_many_small_batches_each_on_one_core(own):
    embedder = OnnxEmbedder.of(own, "cpu", bulk=True)
    assert embedder.session.get_session_options().intra_op_num_threads == 1
    assert embedder.workers >= 1 and embedder.batch_size == CPU_BATCH
    assert OnnxEmbedder.of(own, "cpu").workers == 0


def test_a_provider_nobody_knows_is_a_usage_error(own):
    with pytest.raises(ConfigError, match=r"no provider 'TensorRT'; this one has .*CPUExec"):
        OnnxEmbedder.of(own, "TensorRT")


def test_a_provider_of_another_wheel_names_that_wheel(own):
    there = onnxruntime.get_available_providers()
    missing = next(name for name in ("OpenVINOExecutionProvider",) if name not in there)
    with pytest.raises(DeviceError, match=r"this ONNX Runtime has .*install onnxruntime-openvino"):
        OnnxEmbedder.of(own, missing)


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="a GPU is there")
@pytest.mark.skipif(TENSORRT not in onnxruntime.get_available_providers(), reason="no GPU wheel")
def test_a_provider_that_does_not_start_is_refused_and_prints_nothing(own, capfd):
    with pytest.raises(DeviceError, match=r"TensorrtExecutionProvider does not start: .*--device"):
        OnnxEmbedder.of(own, TENSORRT)
    assert capfd.readouterr().out == ""


def test_a_damaged_model_is_no_matter_of_the_provider(own):
    own.model.write_bytes(b"no graph")
    for device in ("auto", "cpu", "cuda", TENSORRT):
        with pytest.raises((IntegrityError, DeviceError), match=r"cannot load|was asked for"):
            open_session(own.model, device, 1)
    with pytest.raises(IntegrityError, match="cannot load"):
        open_session(own.model, "cpu", 1)
