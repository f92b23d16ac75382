"""Sessions: the requested provider or a refusal, and a graph that is optimised once."""

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
def fresh(bundle: Path, tmp_path: Path) -> Bundle:
    """A copy of the bundle without cached graphs."""
    shutil.copytree(bundle, tmp_path / "bundle", ignore=shutil.ignore_patterns(CACHE))
    return Bundle.open(tmp_path / "bundle")


def graphs(bundle: Bundle) -> list[Path]:
    return sorted((bundle.folder / CACHE).iterdir())


def test_the_optimised_graph_is_cached_and_gives_the_same_vectors(fresh):
    plain = OnnxEmbedder(fresh.model, fresh.preprocessing, "cpu")
    first = OnnxEmbedder.of(fresh, "cpu")
    (cached,) = graphs(fresh)
    written = cached.stat().st_mtime_ns
    fresh.model.rename(fresh.model.with_suffix(".away"))  # opened from the cached graph alone
    second = OnnxEmbedder.of(fresh, "cpu")
    assert [file.stat().st_mtime_ns for file in graphs(fresh)] == [written]
    for embedder in (first, second):
        for expected, actual in zip(plain.run(PIXELS), embedder.run(PIXELS), strict=True):
            np.testing.assert_array_equal(actual, expected)


def test_a_damaged_or_foreign_cached_graph_is_written_again(fresh):
    expected = OnnxEmbedder.of(fresh, "cpu").vectors(PIXELS)
    (cached,) = graphs(fresh)
    content = cached.read_bytes()
    for wrong in (b"", content[:1000], bytes([content[0] ^ 1]) + content[1:], IDENTITY_MODEL):
        cached.write_bytes(wrong)
        np.testing.assert_array_equal(OnnxEmbedder.of(fresh, "cpu").vectors(PIXELS), expected)
        (cached,) = graphs(fresh)
        assert sha256(cached)[:32] in cached.name
    cached.rename(cached.with_name(cached.name.replace(onnxruntime.__version__, "1.0.0")))
    OnnxEmbedder.of(fresh, "cpu")
    assert [onnxruntime.__version__ in file.name for file in graphs(fresh)] == [True]


def test_a_read_only_bundle_is_used_without_a_cache(fresh):
    (fresh.folder / CACHE).write_text("in the way")
    plain = OnnxEmbedder(fresh.model, fresh.preprocessing, "cpu")
    np.testing.assert_array_equal(
        OnnxEmbedder.of(fresh, "cpu").vectors(PIXELS), plain.vectors(PIXELS)
    )


def test_an_unreadable_cached_graph_is_ignored(fresh):
    expected = OnnxEmbedder.of(fresh, "cpu").vectors(PIXELS)
    (cached,) = graphs(fresh)
    for make in (cached.mkdir, lambda: cached.symlink_to("nowhere")):
        cached.unlink()
        make()
        np.testing.assert_array_equal(OnnxEmbedder.of(fresh, "cpu").vectors(PIXELS), expected)
        if cached.is_dir():
            cached.rmdir()
            cached.touch()


def test_the_leftovers_of_a_killed_writer_are_swept(fresh):
    OnnxEmbedder.of(fresh, "cpu")
    (cached,) = graphs(fresh)
    stem = cached.name.partition(f"{onnxruntime.__version__}-")[0]
    cached.unlink()
    # Of an earlier process with this one's number.
    leftover = cached.with_name(f".{stem}.tmp-{host_digest()}-{os.getpid()}-00000000")
    leftover.touch()
    OnnxEmbedder.of(fresh, "cpu")
    assert not leftover.exists() and len(graphs(fresh)) == 1


def test_another_export_does_not_open_the_graph_of_the_last(fresh):
    OnnxEmbedder.of(fresh, "cpu")
    other = fresh.optimised_graphs.with_name("f" * 16)
    fresh.model.write_bytes(b"no graph")
    with pytest.raises(IntegrityError, match=r"cannot load .*; restore it .*\"fgembed export\""):
        open_session(fresh.model, "cpu", 1, other)
    assert len(graphs(fresh)) == 1


def test_bulk_takes_small_batches_with_a_core_for_each(fresh):
    embedder = OnnxEmbedder.of(fresh, "cpu", bulk=True)
    assert embedder.session.get_session_options().intra_op_num_threads == 1
    assert embedder.workers >= 1 and embedder.batch_size == CPU_BATCH
    assert OnnxEmbedder.of(fresh, "cpu").workers == 0


def test_an_unknown_provider_is_a_usage_error(fresh):
    with pytest.raises(
        ConfigError, match=r"no provider 'TensorRT'; give one that this .* has: .*CPUExec"
    ):
        OnnxEmbedder.of(fresh, "TensorRT")


def test_a_provider_of_another_wheel_names_that_wheel(fresh):
    available = onnxruntime.get_available_providers()
    missing = next(name for name in ("OpenVINOExecutionProvider",) if name not in available)
    with pytest.raises(DeviceError, match=r"this ONNX Runtime has .*install onnxruntime-openvino"):
        OnnxEmbedder.of(fresh, missing)


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="a GPU is there")
@pytest.mark.skipif(TENSORRT not in onnxruntime.get_available_providers(), reason="no GPU wheel")
def test_a_provider_that_does_not_start_is_refused_and_prints_nothing(fresh, capfd):
    with pytest.raises(DeviceError, match=r"TensorrtExecutionProvider does not start: .*--device"):
        OnnxEmbedder.of(fresh, TENSORRT)
    assert capfd.readouterr().out == ""


def test_a_damaged_model_is_not_blamed_on_the_provider(fresh):
    fresh.model.write_bytes(b"no graph")
    for device in ("auto", "cpu", "cuda", TENSORRT):
        with pytest.raises((IntegrityError, DeviceError), match=r"cannot load|was requested"):
            open_session(fresh.model, device, 1)
    with pytest.raises(IntegrityError, match="cannot load"):
        open_session(fresh.model, "cpu", 1)
