"""Fewer bits: what int8 may lose, which layers stay in float, and that nothing else is changed."""

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from fgembed.backbones import make_backbone
from fgembed.bundle import MODEL_FILES, Bundle
from fgembed.embedding.onnx_embedder import OnnxEmbedder
from fgembed.errors import FgembedError, NotFoundError
from fgembed.evaluation.protocol import Split
from fgembed.export.parity import parity_images
from fgembed.export.precision_loss import AgreementDrop, Drop, RecallDrop
from fgembed.export.quantize import _Quantiser, write_int8
from fgembed.export.run_source import Source
from fgembed.export.to_onnx import write_onnx
from fgembed.export.write_bundle import export_bundle
from fgembed.images.decoding import Pixels
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.encoder import Encoder
from fgembed.model.pooling import MeanPooling
from tests.conftest import TINY, Command
from tests.end_to_end.refusals import refused

SPEC = Preprocessing(size=64)


@pytest.fixture(scope="module")
def every(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with all its files, whatever they lose."""
    target = tmp_path_factory.mktemp("every") / "bundle"
    return export_bundle(Source.open(run), target, precisions=("int8", "fp16"), max_drop=100).folder


@pytest.fixture(scope="module")
def pixels(photos: Path) -> Pixels:
    return parity_images(photos / "train", SPEC)


class Scripted:
    """A judge whose drops are known."""

    def __init__(self, *points: float) -> None:
        self.left = list(points)

    def __call__(self, file: Path) -> Drop:
        return Drop("recall@1", 100, 0.5, 0.5 - self.left.pop(0) / 100)


def test_every_file_gives_nearly_the_vectors_of_float32(every: Path, pixels: Pixels):
    vectors = {
        name: OnnxEmbedder.of(Bundle.open(every, name, every_file=True), "cpu").vectors(pixels)
        for name in MODEL_FILES
    }
    for name, least in (("fp16", 0.999), ("int8", 0.9)):
        cosines = (vectors["fp32"] * vectors[name]).sum(axis=1)
        assert least < cosines.min() < 1 - 1e-7  # near, and not the same file under another name


def test_parity_json_lists_what_every_file_loses(every: Path, run: Path):
    report = json.loads((every / "parity.json").read_text())
    table = json.loads((run / "report.json").read_text())["table"]
    trained = table["rows"][-1]["scores"]["recall@1"]["value"]
    plain, half, quantised = (report["files"][name] for name in MODEL_FILES.values())
    assert report["torch_recall@1"] == plain["recall@1"] == trained
    assert "drop" not in plain and plain["limits"]["min_cosine"] == 0.9999
    for entry in (half, quantised):
        assert entry["drop"]["measure"] == "recall@1" and entry["drop"]["pictures"] == 9
        assert entry["drop"]["points"] == pytest.approx(100 * (trained - entry["recall@1"]))
    assert quantised["int8_layers"] == 5 and quantised["float_layers"] == []
    card = (every / "README.md").read_text()
    assert [line[:7] for line in card.splitlines() if line.startswith(("| fp", "| int"))] == [
        "| fp32 ", "| fp16 ", "| int8 "
    ]  # fmt: skip


def test_only_the_backbone_computes_in_fewer_bits(every: Path):
    graph = onnx.load(every / MODEL_FILES["int8"]).graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    weights = [
        node
        for node in graph.node
        if node.op_type == "DequantizeLinear"
        and node.input[0] in tensors
        and tensors[node.input[0]].data_type == onnx.TensorProto.INT8
    ]
    assert len(weights) == 5
    for node in weights:  # a scale for each of its channels
        assert len(tensors[node.input[1]].dims) == 1 and tensors[node.input[1]].dims[0] == 64
    producers = {name: node.op_type for node in graph.node for name in node.output}
    pooled = [n for n in graph.node if n.op_type in ("Div", "Pow", "ReduceL2", "MatMul", "Gemm")]
    assert pooled
    for node in pooled:  # what they give is not rounded to 8 bits
        readers = {other.op_type for other in graph.node if set(node.output) & set(other.input)}
        assert "QuantizeLinear" not in readers
    assert producers["embedding"] != "DequantizeLinear"


def test_layers_stay_in_float_until_the_drop_is_within_the_limit(
    every: Path, pixels: Pixels, tmp_path: Path
):
    model, file = every / MODEL_FILES["fp32"], tmp_path / "int8.onnx"
    done = write_int8(model, file, SPEC, pixels, Scripted(3.0, 0.8, 0.4), max_drop=0.5)
    assert (done.layers, len(done.in_float)) == (3, 2)
    assert done.drop.points == pytest.approx(0.4)
    by_harm = _Quantiser(model, tmp_path / "ranges", pixels).by_sensitivity(
        model, tmp_path / "probe.onnx", SPEC, pixels
    )
    assert done.in_float == by_harm[:2]
    convolutions = {
        node.name: node for node in onnx.load(file).graph.node if node.op_type == "Conv"
    }
    tensors = {tensor.name for tensor in onnx.load(file).graph.initializer}
    in_float = {name for name, node in convolutions.items() if node.input[1] in tensors}
    assert in_float & set(by_harm) == set(done.in_float)


def test_no_file_is_left_if_the_drop_stays_above_the_limit(
    every: Path, pixels: Pixels, tmp_path: Path
):
    judge = Scripted(3.0, 1.0, 2.0)
    with pytest.raises(FgembedError, match=r"within 0\.5 points: at best recall@1 50\.0 -> 49\.0"):
        write_int8(every / MODEL_FILES["fp32"], tmp_path / "a.onnx", SPEC, pixels, judge, 0.5)
    assert list(tmp_path.iterdir()) == []


def test_the_layer_that_int8_harms_is_the_most_sensitive(pixels: Pixels, tmp_path: Path):
    """One channel a thousand times the others', and as much less weight in the layer after it."""
    backbone = make_backbone(TINY, size=64)
    norms = dict(backbone.named_modules())
    block = next(module for name, module in norms.items() if name.endswith("layer1.0"))
    block.bn1.weight.data[0] *= 1000
    block.bn1.bias.data[0] += 300
    block.conv2.weight.data[:, 0] /= 1000
    write_onnx(Encoder(backbone, MeanPooling()).eval(), SPEC, tmp_path / "model.onnx")
    quantiser = _Quantiser(tmp_path / "model.onnx", tmp_path / "ranges", pixels)
    order = quantiser.by_sensitivity(tmp_path / "model.onnx", tmp_path / "probe.onnx", SPEC, pixels)
    assert set(order[:2]) == set(quantiser.layers[1:3])


def test_agreement_counts_images_that_keep_their_nearest(every: Path, pixels: Pixels):
    judge = AgreementDrop(every / MODEL_FILES["fp32"], pixels, SPEC)
    assert judge(every / MODEL_FILES["fp32"]) == Drop("neighbour agreement", 24, 1.0, 1.0)
    nearest = judge.nearest.copy()
    judge.nearest[:6] = (judge.nearest[:6] + 1) % 24
    changed = judge(every / MODEL_FILES["fp32"])
    assert (changed.after, changed.points) == (0.75, 25.0)
    assert changed.sentence() == "neighbour agreement 100.0 -> 75.0 on 24 images"
    assert (nearest != np.arange(24)).all()  # no image is its own neighbour


def test_recall_is_that_of_the_floor_table(every: Path, photos: Path, run: Path):
    split = Split.find(photos / "train", photos / "test")
    judge = RecallDrop(every / MODEL_FILES["fp32"], split, SPEC)
    table = json.loads((run / "report.json").read_text())["table"]
    assert judge.before == table["rows"][-1]["scores"]["recall@1"]["value"]
    assert judge.queries == 9


def test_a_small_sample_and_labels_without_matches_are_refused(
    every: Path, pixels: Pixels, photos: Path, tmp_path: Path
):
    model = every / MODEL_FILES["fp32"]
    with pytest.raises(FgembedError, match="19 are too few"):
        write_int8(model, tmp_path / "a.onnx", SPEC, pixels[:19], Scripted(0.0), 0.5)
    first, second = sorted((photos / "train").iterdir())[:2]
    for side, species in (("g", first), ("q", second)):
        shutil.copytree(species, tmp_path / side / species.name)
    with pytest.raises(FgembedError, match="no labelled image finds one of its class"):
        RecallDrop(model, Split.find(tmp_path / "g", tmp_path / "q"), SPEC)


def test_missing_labels_are_ignored_and_faulty_labels_are_refused(run: Path, tmp_path: Path):
    source = Source.open(run)
    for folders, message in (("gone", None), ("flat", "is in no class folder")):
        settings = {
            "eval": {"gallery": str(tmp_path / folders), "queries": str(tmp_path / folders)}
        }
        object.__setattr__(source, "settings", settings)
        (tmp_path / "flat").mkdir(exist_ok=True)
        shutil.copy(sorted(Path(run).rglob("*.json"))[0], tmp_path / "flat" / "a.jpg")
        if message is None:
            assert source.labelled(None) is None
        else:
            with pytest.raises(FgembedError, match=message):
                source.labelled(None)


def test_a_run_without_labels_is_judged_by_its_neighbours(run: Path, tmp_path: Path):
    source = Source.open(run)
    unlabelled = copy.copy(source)
    object.__setattr__(unlabelled, "settings", source.settings | {"eval": {}})
    exported = export_bundle(unlabelled, tmp_path / "b", precisions=("int8",), max_drop=100)
    drop = exported.files[MODEL_FILES["int8"]].drop
    assert drop is not None and (drop.measure, drop.images) == ("neighbour agreement", 24)


def test_a_precision_that_was_not_exported_is_named_with_the_remedy(bundle: Path):
    with pytest.raises(NotFoundError, match=r"no int8 model; .*--precision fp32,int8"):
        Bundle.open(bundle, "int8")


def test_an_index_is_searched_with_any_of_its_bundle_s_models(
    command: Command, every: Path, photos: Path
):
    query = sorted((photos / "train").rglob("*.jpg"))[0]
    built = command("index", "build", photos / "train", "--bundle", every, "--precision", "int8")
    assert built.code == 0, built.err
    manifest = json.loads(Path("gallery.index/manifest.json").read_text())
    assert manifest["model"]["precision"] == "int8"
    scores = {}
    for name in ("", *MODEL_FILES):
        option = ["--precision", name] if name else []
        hits = json.loads(command("search", query, "-k", "1", "--json", *option).out)
        assert hits[0]["path"] == str(query)
        scores[name] = hits[0]["score"]
    assert scores[""] == scores["int8"] == pytest.approx(1, abs=1e-5)  # by default the index's own
    assert scores["fp32"] < scores["int8"]


def test_a_refused_int8_leaves_the_last_bundle(
    command: Command, run: Path, every: Path, photos: Path
):
    shutil.copytree(every, "bundle")
    before = Path("bundle/config.json").read_bytes()
    labelled = ("--gallery", photos / "test", "--queries", photos / "test")
    done = command("export", run, "--precision", "int4")
    refused(done, 2, "--precision 'int4'", "fp32, fp16, int8")
    refused(command("export", run, "--gallery", photos), 2, "belong together")
    done = command("export", run, "--precision", "int8", "--max-drop", "-1", *labelled)
    refused(done, 2, "'--max-drop'")
    refused(command("export", run, "--max-drop", "nan"), 2, "--max-drop nan is no number")
    assert Path("bundle/config.json").read_bytes() == before
