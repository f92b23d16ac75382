"""The report: its content, its figures, and what it refuses."""

import json
import re
import shutil
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from fgembed.config import RunConfig, validate
from fgembed.disk.files import read_toml
from fgembed.errors import NotFoundError
from fgembed.evaluation.floor_table import FloorTable, Score, ScoreRow
from fgembed.evaluation.labelled_images import LabelledImages
from fgembed.images.preprocessing import Preprocessing
from fgembed.methods.lcr import LCR
from fgembed.reports.maps import Samples, map_rows, method_rows
from fgembed.reports.plots import SheetRow, draw_curves, draw_sheet
from tests.conftest import Command
from tests.end_to_end.refusals import refused


class Illustrated(LCR):
    """Shows each first view mirrored, and marks the left half of it."""

    def illustrate(self, views: Sequence[Tensor]) -> dict[str, Tensor]:
        assert not self.training
        assert self.progress == 1.0
        half = torch.zeros(len(views[0]), 2, 2)
        half[:, :, 0] = 1.0
        noise = views[0] + torch.randn_like(views[0])
        return {"view": views[0], "mirrored": views[0].flip(3), "half": half, "noise": noise}


@pytest.fixture
def illustrated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fgembed.reports.maps.method_named", lambda name: Illustrated)


def config_of(run: Path) -> RunConfig:
    return validate(RunConfig, read_toml(run / "config.toml"), str(run))


def samples_of(photos: Path) -> Samples:
    return Samples.of(LabelledImages.find(photos / "test"), Preprocessing(size=64))


def array(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=int)


def test_a_report_holds_the_table_twice_and_every_figure_it_names(
    command: Command, run: Path, tmp_path: Path
):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "notes.txt").write_text("mine")
    done = command("evaluate", run, "--report", "report")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1] == "report: report/report.md"
    content = json.loads((tmp_path / "report" / "report.json").read_text())
    words = (tmp_path / "report" / "report.md").read_text()
    assert FloorTable.from_json(content["table"]).markdown() in words
    assert words.index("untouched start, mean pooling") < words.index("| run tiny |")
    assert f"| command | `fgembed evaluate {run} --report report` |" in words
    assert "| seed | `0` |" in words
    linked = re.findall(r"!\[[^]]+\]\(([^)]+)\)", words)
    assert linked == content["pictures"] == [
        "recall_curves.png", "cost.png", "spread.png", "maps.png",
    ]  # fmt: skip
    for name in linked:
        with Image.open(tmp_path / "report" / name) as figure:
            assert min(figure.size) > 400
    names = {path.name for path in (tmp_path / "report").iterdir()}
    assert names == {"notes.txt", "report.md", "report.json", *linked}


def test_the_recall_curve_passes_through_the_table_s_recalls(command: Command, run: Path):
    for row in json.loads(command("evaluate", run, "--json").out)["rows"]:
        curve = row["recall_curve"]
        assert len(curve) == 24  # the gallery's images
        assert [curve[k - 1] for k in (1, 5, 10)] == [
            row["scores"][f"recall@{k}"]["value"] for k in (1, 5, 10)
        ]
        assert curve == sorted(curve)
        assert curve[-1] == 1.0


def test_a_bundle_s_report_shows_the_maps_of_its_run(command: Command, bundle: Path):
    done = command("evaluate", bundle, "--report", "report", "--json")
    assert json.loads(done.out)["rows"][-1]["encoder"] == f"bundle {bundle}"
    assert f"# Report on bundle {bundle}" in Path("report/report.md").read_text()
    assert Path("report/maps.png").is_file()


def test_the_same_command_gives_the_same_report_where_the_encoders_are_as_fast(
    command: Command, run: Path, illustrated: None, monkeypatch: pytest.MonkeyPatch
):
    contents = []
    for _ in range(2):
        torch.rand(1)
        monkeypatch.setattr("fgembed.evaluation.timing.perf_counter", count().__next__)
        assert command("evaluate", run, "--report", "report").code == 0
        contents.append({path.name: path.read_bytes() for path in Path("report").iterdir()})
    assert contents[0] == contents[1]
    assert "method.png" in contents[0]


def test_a_file_at_the_path_of_the_report_is_refused(command: Command, run: Path, tmp_path: Path):
    (tmp_path / "report").write_text("mine")
    done = command("evaluate", run, "--report", "report")
    refused(done, 1, "report is a file", "choose another path")
    assert (tmp_path / "report").read_text() == "mine"


def test_a_report_s_folder_is_made_with_its_parents_or_refused(command: Command, run: Path):
    assert command("evaluate", run, "--report", "a/b").code == 0
    assert Path("a/b/report.md").is_file()
    refused(command("evaluate", run, "--report", "a/b/report.md/c"), 1, "report.md")


@pytest.mark.parametrize("inside", ["train", "train/report", "test/of/it"])
def test_a_report_among_the_photographs_is_refused(
    command: Command, run: Path, photos: Path, inside: str
):
    before = sorted(photos.rglob("*"))
    refused(command("evaluate", run, "--report", photos / inside), 1, "choose a folder outside")
    assert sorted(photos.rglob("*")) == before


def test_maps_are_of_the_start_the_encoder_and_its_rationale(run: Path, photos: Path):
    rows = map_rows(run, samples_of(photos))
    assert [row.label for row in rows] == [
        "query", "activation, untouched start", "activation, trained", "learned rationale",
    ]  # fmt: skip
    assert {len(row.images) for row in rows} == {3}
    plain, start, trained, rationale = (array(row.images[0]) for row in rows)
    assert plain.shape == (224, 224, 3)
    assert not (start == trained).all()
    assert not (rationale == trained).all()
    for overlay in (start, trained, rationale):  # stretched: somewhere there is no colour
        assert (overlay == plain).all(axis=2).any()
        assert not (overlay == plain).all()


def test_a_method_s_illustrations_are_shown_unchanged(run: Path, photos: Path, illustrated: None):
    before = torch.get_rng_state()
    rows = method_rows(run, config_of(run), samples_of(photos))
    assert torch.equal(torch.get_rng_state(), before)
    assert [row.label for row in rows] == ["view", "mirrored", "half", "noise"]
    view, mirrored, half, noise = (array(row.images[2]) for row in rows)
    np.testing.assert_array_equal(mirrored, view[:, ::-1])
    np.testing.assert_array_equal(half[:, 32:], view[:, 32:])
    yellow = 0.45 * view[:, :32] + 0.55 * np.array([255, 225, 30])
    np.testing.assert_allclose(half[:, :32], yellow, atol=0.51)
    assert noise.min() == 0  # cut off, not wrapped around
    assert noise.max() == 255
    again = method_rows(run, config_of(run), samples_of(photos))
    np.testing.assert_array_equal(array(again[3].images[2]), noise)


def test_without_its_state_a_method_is_not_drawn_and_the_report_says_why(
    command: Command, run: Path, photos: Path, tmp_path: Path, illustrated: None
):
    shutil.copytree(run, tmp_path / "bare")
    shutil.rmtree(tmp_path / "bare" / "state")
    with pytest.raises(NotFoundError, match=r"no method's weights; restore state/"):
        method_rows(tmp_path / "bare", config_of(run), samples_of(photos))
    assert command("evaluate", "bare", "--report", "report").code == 0
    words = Path("report/report.md").read_text()
    assert "No figure: bare holds no state/ any more" in words
    assert not Path("report/method.png").exists()


def test_samples_are_spread_over_the_classes_and_skip_what_cannot_be_read(tmp_path: Path):
    for number in range(15):
        folder = tmp_path / f"class-{number:02d}"
        folder.mkdir()
        (folder / "a.png").write_bytes(b"broken")
        Image.new("RGB", (20, 20)).save(folder / "b.png")
        Image.new("RGB", (20, 20)).save(folder / "c.png")
    samples = Samples.of(LabelledImages.find(tmp_path), Preprocessing(size=16))
    assert samples.classes == [f"class-{number:02d}" for number in range(0, 15, 2)]
    assert {path.name for path in samples.paths} == {"b.png"}


def test_any_name_can_be_drawn(tmp_path: Path):
    """Neither mathematics, nor a script that the typeface lacks, nor a name too long."""
    names = ["$x_", "$\\frac{", "蛋糕", "a" * 300, "_hidden", "\x1b[31m\n"]
    rows = [SheetRow(name, [Image.new("RGB", (8, 8))] * len(names)) for name in names]
    draw_sheet(tmp_path / "sheet.png", "$\\frac{", names, rows)
    score = {"recall@1": Score(0.5, 0.4, 0.6)}
    table = FloorTable(
        rows=[ScoreRow(name, 8, score, [0.5, 0.75]) for name in names],
        protocol="leave-one-out",
        queries=2,
        gallery=2,
        classes=1,
        skipped=0,
    )
    draw_curves(tmp_path / "curves.png", table)
    for name in ("sheet.png", "curves.png"):
        with Image.open(tmp_path / name) as figure:
            assert figure.width < 2000
