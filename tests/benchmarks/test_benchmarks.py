"""The benchmarks that have no test file of their own, each run on a small case.

Those of `benchmarks/peers/` need tools that are installed from the network: mypy reads them with
the product (`files` in pyproject.toml), so that a name which the library no longer has is found.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import clustered, index, parity_table, pointing_game, read_images, search_start
from fgembed.evaluation.metrics import pointing_game as play
from fgembed.images.preprocessing import Preprocessing


def call(monkeypatch: pytest.MonkeyPatch, main: object, *arguments: object) -> None:
    """Runs a benchmark's `main` with a command line."""
    monkeypatch.setattr(sys, "argv", ["benchmark", *map(str, arguments)])
    assert callable(main)
    main()


def test_drawn_vectors_have_the_neighbourhoods_of_real_embeddings():
    vectors = np.concatenate(list(clustered.clustered(4000)))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    grocery81 = (0.80, 0.73, 0.63, 0.56, 0.34, 0.15)  # of ranks 1, 2, 5, 10, 50, 200
    np.testing.assert_allclose(clustered.scores_by_rank(vectors), grocery81, atol=0.05)


def test_held_out_queries_are_in_no_file_of_vectors(tmp_path: Path):
    clustered.write(tmp_path, count=600, queries=30, dimensions=16)
    (rows,) = (np.load(file) for file in (tmp_path / "img_emb").glob("*.npy"))
    queries = np.load(tmp_path / "queries.npy")
    assert (rows.shape, queries.shape) == ((600, 16), (30, 16))
    assert (queries @ rows.T).max() < 0.999


@pytest.mark.slow
def test_the_index_benchmark_measures_ours_beside_bare_faiss_and_numpy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    small = ["--count", 3000, "--dimensions", 32, "--queries", 40, "--rounds", 1]
    names = ["fgembed", "FAISS IVF,Flat", "numpy"]
    places = ["--work", tmp_path / "work", "--out", tmp_path / "result"]
    call(monkeypatch, index.main, *small, "--only", *names, *places)
    report = json.loads((tmp_path / "result.json").read_text())
    assert (list(report["rivals"]), report["not built"]) == (names, {})
    for name in ("fgembed", "numpy"):  # so few vectors are compared one by one
        assert report["rivals"][name]["settings"][0]["recall@10"] == pytest.approx(1)
    assert report["rivals"]["fgembed"]["bytes_a_vector"] > 4 * 32
    assert "beside numpy: " in capsys.readouterr().out
    assert (tmp_path / "result.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_start_of_a_search_is_timed_against_the_script(
    index: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    query = sorted((photos / "test").rglob("*.jpg"))[0]
    result = tmp_path / "start.json"
    places = ["--index", index, "--query", query, "--out", result]
    call(monkeypatch, search_start.main, *places, "--runs", 1)
    figures = json.loads(result.read_text())
    assert (figures["pictures"], figures["runs"]) == (24, 1)
    ratio = figures["fgembed_search_s"] / figures["script_s"]
    assert figures["ratio"] == pytest.approx(ratio, rel=0.01)


@pytest.mark.slow
def test_a_row_of_the_parity_table_holds_three_precisions(photos: Path):
    (row,) = parity_table.measure(["torchvision/resnet18"], ["mean"], photos / "train", 64)
    assert row.fp32.min_cosine > 0.9999
    assert 0.99 < row.fp16.min_cosine <= row.fp32.min_cosine
    assert row.quantised.layers > 15
    assert row.line().count("|") == parity_table.HEADER[1].count("|")


def test_reading_is_timed_in_both_versions():
    table = read_images.measure(size=(640, 480), turns=3)
    assert list(table) == ["224 px", "160 px"]
    for row in table.values():
        assert row["earlier, ratio"] == 1
        assert row["Adobe RGB, ratio"] == pytest.approx(row["Adobe RGB"] / row["earlier"])
        assert all(figure > 0 for figure in row.values())


def test_the_pointing_game_benchmark_plays_every_map_of_run_and_start(
    run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    demo = tmp_path / "demo"
    (demo / "runs").mkdir(parents=True)
    (demo / "photos").symlink_to(photos)
    (demo / "runs" / "tiny").symlink_to(run)
    files = ["--json", tmp_path / "shares.json", "--picture", tmp_path / "maps.png"]
    call(monkeypatch, pointing_game.main, "--demo", demo, "--run", "tiny", *files)
    shares = json.loads((tmp_path / "shares.json").read_text())
    _, masks = pointing_game.pictures_and_masks(demo, Preprocessing(size=64))
    centre = play(np.ones((len(masks), 1, 1)), masks).mean()
    assert shares["the centre"] == pytest.approx(float(centre))
    assert {name.partition(":")[0] for name in list(shares)[2:]} == {"start", "run tiny"}
    assert all(0 <= share <= 1 for share in shares.values())
    assert (tmp_path / "maps.png").read_bytes().startswith(b"\x89PNG")
