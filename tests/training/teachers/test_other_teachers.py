"""Teachers other than the start: a backbone by name, a bundle, an ONNX file; and their refusals."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper

from fgembed.bundle import Bundle
from fgembed.demo.drawing import draw_set
from fgembed.embedding.onnx_embedder import OnnxEmbedder
from fgembed.errors import ConfigError, FgembedError
from fgembed.export.run_source import Source
from fgembed.export.write_bundle import export_bundle
from fgembed.images.finding import find_images
from fgembed.methods.distill import Distill
from fgembed.methods.moco import MoCo
from fgembed.methods.none import Untrained
from fgembed.model.reading.fitting import FitSettings
from fgembed.progress import silent
from fgembed.training.dry_run import dry_run
from fgembed.training.preparation import Prepared, prepare
from fgembed.training.run import run_training
from fgembed.training.teachers.choice import make_teachers
from fgembed.training.teachers.graph import FittedGraph
from fgembed.training.teachers.targets import give_targets, read_by, start_by
from fgembed.training.teachers.teacher import FittedBackbone
from tests.training.teachers.small_runs import settings

OTHER = "torchvision/resnet18:layer2"
RGB = (0.2, 0.3, 0.4)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    draw_set(folder, species=3, train=8, test=1, size=96)
    return folder / "train"


def prepared_with(images: Path, sizes: list[float], *teachers: dict[str, Any]) -> Prepared:
    method = {"sizes": sizes, "teachers": list(teachers)}
    return prepare(settings(images, method=method), Distill)


@pytest.fixture(scope="module")
def bundle(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported fitted start of another backbone, at 96 px."""
    folder = tmp_path_factory.mktemp("workspace") / "runs" / "other"
    other = {"backbone": {"name": OTHER, "weights": "random"}, "preprocessing": {"size": 96}}
    run_training(settings(images, method={"name": "none"}, **other), Untrained, folder, silent)
    return export_bundle(Source.open(folder), folder.parent / "bundle").folder


def averaging_graph(
    file: Path, *, batch: int | str = "B", is_map: bool = True, type_: int = TensorProto.FLOAT
) -> Path:
    """An ONNX file that averages 16 x 16 blocks: a map (B, 3, 4, 4) of 64 px images."""
    image = helper.make_tensor_value_info("pixels", type_, [batch, 3, 64, 64])
    nodes = [
        helper.make_node(
            "AveragePool", ["pixels"], ["map"], kernel_shape=[16, 16], strides=[16, 16]
        )
    ]
    output, shape = "map", [batch, 3, 4, 4]
    constants = []
    if not is_map:
        constants.append(numpy_helper.from_array(np.array([0, -1]), "shape"))
        nodes.append(helper.make_node("Reshape", ["map", "shape"], ["flat"]))
        output, shape = "flat", [batch, 48]
    value = helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "averages", [image], [value], constants)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), file)
    return file


def assert_same_cosines(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one @ one.T, other @ other.T, atol=2e-3, rtol=0)


def test_another_backbone_is_read_as_the_start_is_at_its_own_size(images: Path):
    prepared = prepared_with(
        images, [], {"backbone": OTHER, "weights": "random", "size": 96, "mean": RGB, "std": RGB}
    )
    (teacher,) = make_teachers(prepared)
    assert isinstance(teacher, FittedBackbone)
    assert (teacher.shared.spec.size, teacher.shared.spec.mean) == (96, RGB)
    assert teacher.encoder.reading == prepared.start.reading
    assert teacher.encoder.backbone.name == OTHER
    vectors = teacher.fit(prepared.paths)
    assert vectors.shape == (24, 16)
    torch.testing.assert_close(vectors, teacher.read(prepared.paths), atol=1e-4, rtol=0)


def test_the_targets_join_the_start_and_the_others(images: Path, tmp_path: Path):
    file = averaging_graph(tmp_path / "averages.onnx", is_map=False)
    prepared = prepared_with(images, [1.0], {"onnx": str(file)})
    stages: list[str] = []
    give_targets(prepared, make_teachers(prepared), prepared.paths, stages.append)
    assert stages == [f"reading the photographs at 64 px and by {file}: what the student learns"]
    both = prepared.method.targets
    assert both is not None
    spec, fit = prepared.config.preprocessing, FitSettings.of(prepared.config.pooling)
    own = start_by([spec], prepared.start, 64, fit, prepared.device)
    parts = [teacher.fit(prepared.paths) for teacher in (*own, *make_teachers(prepared))]
    joined = torch.cat(parts, dim=1)
    left, values, _ = torch.linalg.svd(joined - joined.mean(dim=0), full_matrices=False)
    assert_same_cosines(both, F.normalize((left * values)[:, :16], dim=1))


def test_a_bundle_teaches_its_vectors_by_its_own_preprocessing(images: Path, bundle: Path):
    prepared = prepared_with(images, [], {"bundle": str(bundle)})
    (teacher,) = make_teachers(prepared)
    assert isinstance(teacher, FittedGraph)
    assert teacher.spec.size == 96
    paths = prepared.paths
    opened = Bundle.open(bundle)
    once = torch.from_numpy(OnnxEmbedder.of(opened, "cpu")(paths).vectors)
    cosines = F.normalize(once - once.mean(dim=0), dim=1)
    vectors = teacher.fit(paths)
    similarities = [(v @ v.T)[~torch.eye(24, dtype=torch.bool)] for v in (vectors, cosines)]
    assert torch.corrcoef(torch.stack(similarities))[0, 1] > 0.9  # whitened again, and mirrored


@pytest.mark.parametrize("batch", ["B", 1, 5])
@pytest.mark.parametrize("is_map", [True, False])
def test_an_onnx_file_is_given_normalised_images(
    images: Path, tmp_path: Path, batch: int | str, is_map: bool
):
    file = averaging_graph(tmp_path / "a.onnx", batch=batch, is_map=is_map)
    prepared = prepared_with(images, [], {"onnx": str(file), "mean": RGB, "std": RGB})
    (teacher,) = make_teachers(prepared)
    assert isinstance(teacher, FittedGraph)
    pixels = np.random.default_rng(0).integers(0, 256, (7, 64, 64, 3), np.uint8)
    blocks = ((pixels / 255 - RGB) / RGB).reshape(7, 4, 16, 4, 16, 3).mean(axis=(2, 4))
    expected = blocks.mean(axis=(1, 2)) if is_map else blocks.transpose(0, 3, 1, 2).reshape(7, 48)
    np.testing.assert_allclose(teacher.vectors(pixels), expected, atol=1e-4)


def test_the_mirror_image_counts_unless_it_shows_another_thing(images: Path, tmp_path: Path):
    file = averaging_graph(tmp_path / "a.onnx", is_map=False)
    prepared = prepared_with(images, [], {"onnx": str(file)})
    (teacher,) = make_teachers(prepared)
    assert isinstance(teacher, FittedGraph)
    assert teacher.mirror
    raw = teacher._raw(prepared.paths[:2]).reshape(2, 3, 4, 4)
    torch.testing.assert_close(raw, raw.flip(3), atol=1e-4, rtol=0)
    config = settings(images, method={"teachers": [{"onnx": str(file)}]}, things={"mirror": "no"})
    (teacher,) = make_teachers(prepare(config, Distill))
    assert isinstance(teacher, FittedGraph)
    assert not teacher.mirror


def test_an_image_that_cannot_be_read_any_more_gets_zeros(images: Path, tmp_path: Path):
    file = averaging_graph(tmp_path / "a.onnx")
    paths, _ = find_images(images)
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    teacher = FittedGraph.of_file(file, settings(images).preprocessing, FitSettings(larger=1), True)
    vectors = read_by([teacher], [bad, *paths], 16, [1.0])
    assert not vectors[0].any()
    torch.testing.assert_close(vectors[1:].norm(dim=1), torch.ones(24))


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ({}, "a teacher is one of `backbone`, `bundle` and `onnx`.*set exactly one"),
        ({"backbone": OTHER, "onnx": "a.onnx"}, "a teacher is one of"),
        ({"onnx": "a.onnx", "mean": RGB}, "`mean` and `std` belong together"),
        ({"bundle": "b", "size": 64}, "a bundle has its own preprocessing"),
        ({"onnx": "missing.onnx"}, r"teacher missing.onnx is no file.* correct method.teachers"),
        ({"backbone": "torchvision/resnet19"}, "resnet19"),
        ({"bundle": "nowhere"}, "nowhere"),
        ({"bakbone": OTHER}, "unknown key .*bakbone"),
    ],
)
def test_a_teacher_that_is_not_to_be_had_is_refused_before_any_image_is_read(
    images: Path, teacher: dict[str, Any], message: str
):
    config = settings(images, method={"teachers": [teacher]})
    with pytest.raises(FgembedError, match=message):
        dry_run(config, Distill)


def test_the_estimate_counts_teachers_beside_the_start(images: Path, tmp_path: Path):
    file = averaging_graph(tmp_path / "averages.onnx", is_map=False)
    method = {"sizes": [], "teachers": [{"onnx": str(file)}]}
    estimate = dry_run(settings(images, method=method), Distill)
    assert estimate.rates is not None
    assert estimate.stages["reading the teacher"] > 24 * estimate.rates.others_s > 0
    plain = dry_run(settings(images, method={"name": "moco", "queue_size": 16}), MoCo)
    assert plain.rates is not None
    assert plain.rates.others_s == 0
    assert "reading the teacher" not in plain.stages


def test_without_sizes_and_teachers_there_is_nothing_to_learn(images: Path):
    with pytest.raises(ConfigError, match="neither sizes nor teachers are set; set one of them"):
        prepared_with(images, [])


def test_graphs_that_do_not_take_such_images_are_refused_with_their_form(
    images: Path, tmp_path: Path
):
    whole = averaging_graph(tmp_path / "a.onnx")
    with pytest.raises(ConfigError, match=r"cannot read the images: .*export it with float32"):
        make_teachers(prepared_with(images, [], {"onnx": str(whole), "size": 32}))
    other = averaging_graph(tmp_path / "b.onnx", type_=TensorProto.FLOAT16)
    with pytest.raises(FgembedError):
        make_teachers(prepared_with(images, [], {"onnx": str(other)}))
    (tmp_path / "c.onnx").write_bytes(b"no graph")
    with pytest.raises(FgembedError, match=r"c\.onnx"):
        make_teachers(prepared_with(images, [], {"onnx": str(tmp_path / "c.onnx")}))


@pytest.mark.slow
def test_a_student_of_another_backbone_and_a_bundle_trains_to_the_end(
    images: Path, bundle: Path, tmp_path: Path
):
    teachers = [{"bundle": str(bundle)}, {"backbone": OTHER, "weights": "random"}]
    config = settings(images, method={"teachers": teachers, "sizes": []})
    run = tmp_path / "runs" / "student"
    run_training(config, Distill, run, silent)
    run_training(config, Distill, run, silent)  # finished: it is measured again
    assert (run / "encoder.safetensors").is_file()
    assert f'bundle = "{bundle}"' in (run / "config.toml").read_text()
