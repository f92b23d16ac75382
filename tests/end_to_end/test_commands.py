"""Commands on the small workspace: what they print and how they end."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import typer
from PIL import Image

from fgembed.backbones import make_backbone
from fgembed.cli.main import LazyGroup, app
from fgembed.cli.search import Rerank
from fgembed.index import Searcher
from fgembed.index.search.reranking import RERANKINGS
from tests.conftest import SIZE, TINY, Command


def test_search_prints_the_picture_itself_first(command: Command, index: Path, photos: Path):
    picture = sorted((photos / "train").rglob("*.jpg"))[5]
    done = command("search", picture, "--index", index, "-k", 3, "--json")
    assert done.code == 0
    hits = json.loads(done.out)
    assert [hit["rank"] for hit in hits] == [1, 2, 3]
    assert hits[0]["path"] == str(picture)
    assert hits[0]["score"] > 0.9999
    assert hits[1]["score"] < 0.9999


def test_search_prints_a_table_and_writes_pictures(
    command: Command, index: Path, photos: Path, tmp_path: Path
):
    picture = sorted((photos / "test").rglob("*.jpg"))[0]
    done = command(
        "search", picture, "--index", index, "-k", 4, "--explain",
        "--html", tmp_path / "hits.html", "--png", tmp_path / "hits.png",
    )  # fmt: skip
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0].split() == ["rank", "score", "image", "peak", "x,", "y"]
    assert [line.split()[0] for line in lines[1:5]] == ["1", "2", "3", "4"]
    files = [f"results page: {tmp_path / 'hits.html'}", f"contact sheet: {tmp_path / 'hits.png'}"]
    assert lines[5:] == files
    assert re.fullmatch(r"\s*1\s+0\.\d{3}\s+\S+\.jpg\s+\d+%, \d+%", lines[1])
    page = (tmp_path / "hits.html").read_text()
    assert page.count("<img") >= 5
    assert picture.name in page
    with Image.open(tmp_path / "hits.png") as sheet:
        assert sheet.width > 400


def test_every_way_of_reranking_says_so_and_keeps_the_cosine(
    command: Command, index: Path, photos: Path, tmp_path: Path
):
    assert [way.value for way in Rerank] == list(RERANKINGS)
    picture = sorted((photos / "test").rglob("*.jpg"))[0]
    asked = ("search", picture, "--index", index, "-k", 24)
    plain = {hit["id"]: hit["score"] for hit in json.loads(command(*asked, "--json").out)}
    for way in Rerank:
        hits = json.loads(command(*asked, "--rerank", way, "--json").out)
        assert {hit["id"]: hit["score"] for hit in hits} == pytest.approx(plain, abs=1e-5)
        assert {hit["reranked"] for hit in hits} == {way.value}
        expected = [hit.id for hit in Searcher.open(index).search(picture, 24, RERANKINGS[way])]
        assert [hit["id"] for hit in hits] == expected
    done = command(*asked, "--rerank", "reciprocal", "--html", tmp_path / "hits.html")
    said = "order: re-ranked by reciprocal; score: the cosine with the query"
    assert done.out.splitlines()[-1] == said
    assert "re-ranked by reciprocal, scores are cosines" in (tmp_path / "hits.html").read_text()


def test_an_unknown_way_of_reranking_is_a_usage_error(command: Command, index: Path):
    done = command("search", "query.jpg", "--index", index, "--rerank", "magic")
    assert done.code == 2
    assert "'expansion', 'reciprocal', 'augmentation'" in done.err


def test_evaluate_shows_every_floor_above_the_run(command: Command, run: Path, photos: Path):
    done = command("evaluate", run)
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].split() == [
        "encoder", "D", "recall@1", "recall@5", "recall@10", "precision@10", "mAP", "mAP@R",
        "kNN@20", "kNN@200", "images/s",
    ]  # fmt: skip
    starts = [
        "untouched start, mean pooling ",
        "untouched start, mean pooling + mirror",
        "untouched start, GeM + whitening ",
        "untouched start, GeM + whitening + mirror",
        "untouched start, fitted reading + mirror",
        "run tiny",
    ]
    assert all(line.startswith(start) for line, start in zip(lines[1:7], starts, strict=True)), (
        lines
    )
    assert "queries against gallery: 9 queries, 24 gallery images, 3 classes" in lines[7]


def test_a_bundle_scores_as_its_run_does(command: Command, run: Path, bundle: Path):
    of_run = json.loads(command("evaluate", run, "--json").out)
    of_bundle = json.loads(command("evaluate", bundle, "--json").out)
    assert of_bundle["rows"][:-1] == of_run["rows"][:-1]
    assert of_bundle["rows"][-1]["encoder"] == f"bundle {bundle}"
    assert of_bundle["rows"][-1]["scores"] == of_run["rows"][-1]["scores"]


def test_the_same_folder_twice_is_leave_one_out(command: Command, run: Path, photos: Path):
    folder = photos / "train"
    table = json.loads(
        command("evaluate", run, "--gallery", folder, "--queries", folder, "--json").out
    )
    assert table["protocol"] == "leave-one-out"
    assert (table["queries"], table["gallery"]) == (24, 24)
    assert all(row["scores"]["recall@1"]["value"] < 1.0 for row in table["rows"])


def test_a_query_that_is_also_in_the_gallery_is_refused(command: Command, run: Path, photos: Path):
    folders = ("--gallery", photos / "train", "--queries", photos)
    done = command("evaluate", run, *folders)
    assert done.code == 1
    assert "is both a query and in the gallery" in done.err


def test_a_bundle_of_another_run_has_no_floor_there(
    command: Command, run: Path, bundle: Path, tmp_path: Path
):
    shutil.copytree(run, tmp_path / "other")
    with (tmp_path / "other" / "encoder.safetensors").open("ab") as file:
        file.write(b"x")
    done = command("evaluate", bundle, "--floor", tmp_path / "other")
    assert done.code == 5
    assert "was not exported from" in done.err


def test_doctor_tries_a_real_session(command: Command):
    done = command("doctor", "--json")
    findings = {finding["topic"]: finding for finding in json.loads(done.out)}
    assert done.code == 0
    assert findings["CPUExecutionProvider"]["text"] == "a real session runs on it"
    assert findings["torch"]["text"] == torch.__version__.partition("+")[0]


@pytest.mark.slow
def test_weights_from_a_file_are_the_start(command: Command, photos: Path, tmp_path: Path):
    torch.manual_seed(5)
    backbone = make_backbone(TINY)
    torch.save(backbone.trunk.state_dict(), tmp_path / "start.pt")
    done = command(
        "train", "--images", photos / "train", "--method", "none", "--backbone", TINY,
        "--weights", "start.pt", "--run", "mine", "--set", f"preprocessing.size={SIZE}", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert json.loads(done.out)["method"] == "none"
    from fgembed.model.encoder_files import load_encoder

    encoder, _ = load_encoder(tmp_path / "runs" / "mine")
    torch.testing.assert_close(encoder.backbone.trunk.state_dict(), backbone.trunk.state_dict())
    assert (encoder.pooling.kind, encoder.dimensions) == ("gem", 23)


@pytest.mark.slow
def test_a_killed_training_is_resumed_by_the_command(
    command: Command, photos: Path, tmp_path: Path
):
    """A real process, killed by the signal that nothing can catch."""
    arguments = [
        "train", "--images", str(photos / "train"), "--backbone", TINY, "--weights", "random",
        "--set", f"preprocessing.size={SIZE}", "--set", "optimiser.batch_size=8",
        "--set", "optimiser.epochs=40", "--set", "workers=0", "--set", "device=cpu",
    ]  # fmt: skip
    line = [sys.executable, "-c", "from fgembed.cli.main import main; main()", *arguments]
    process = subprocess.Popen(line, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    state = tmp_path / "runs" / "distill-1" / "state" / "checkpoint.safetensors"
    while not state.exists():
        assert process.poll() is None, process.communicate()
    process.kill()
    process.communicate()
    done = command("train", "--resume", "--json")
    assert done.code == 0, done.err
    assert (tmp_path / "runs" / "distill-1" / "encoder.json").exists()


def every_command() -> list[str]:
    """As they are typed, those of a group with its name before theirs."""
    root = typer.main.get_command(app)
    assert isinstance(root, LazyGroup)
    names = []
    for name in root.list_commands(None):
        command = root.get_command(None, name)
        parts = getattr(command, "commands", None)
        names += [name] if parts is None else [f"{name} {part}" for part in parts]
    return names


@pytest.mark.parametrize("name", every_command())
def test_every_command_has_an_example_in_its_help(command: Command, name: str):
    done = command(*name.split(), "--help")
    assert done.code == 0
    assert f"Example: fgembed {name}" in " ".join(done.out.split())


def test_a_help_text_is_broken_by_the_terminal_alone():
    group = LazyGroup()
    for name in ("train", "search", "index"):
        named = group.get_command(None, name)
        for told in (named, *getattr(named, "commands", {}).values()):
            assert "\n" not in told.help.replace("\n\n", ""), told.name
