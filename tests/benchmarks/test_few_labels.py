"""The benchmark of few labels: whom it labels, and a table of a drawn set."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.adaptation import few_labels
from tests.conftest import TINY


def test_half_of_the_classes_get_labels():
    labels = np.repeat(["a", "b", "c", "d"], 6)
    few, every = few_labels.drawn(labels, 2, seed=1), few_labels.drawn(labels, None, seed=1)
    assert (len(few), len(every)) == (4, 12)
    assert set(labels[few]) == set(labels[every])
    assert set(few) <= set(every)


def test_the_first_row_is_the_reading_itself_and_a_worse_one_gets_a_star():
    vectors, labels = torch.eye(8, dtype=torch.float32), np.array(list("aabbccdd"))
    table = few_labels.rows(lambda classes: (vectors, vectors), (labels, labels), [2])
    assert list(table) == ["0", "2"]
    assert np.hstack(table["0"]["labelled"])[0].mean() == 100  # each finds itself
    worse = {
        "0": table["0"],
        "2": {part: [v - 50 for v in table["0"][part]] for part in table["0"]},
    }
    first, second = few_labels.lines("drawn", worse)
    assert first.startswith("| drawn | 0 | 100.0 / ")
    assert second.startswith("| drawn | 2 | 50.0* / ")


@pytest.mark.slow
@pytest.mark.parametrize("reading", [(), ("--taught",)])
def test_a_table_keeps_its_features(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], reading: tuple[str, ...]
):
    options = ["--backbone", TINY, "--weights", "random", "--size", "64", "--counts", "2"]
    few_labels.main([str(photos), *options, *reading, "--features", str(tmp_path)])
    printed = capsys.readouterr().out
    assert [line.split(" | ")[1] for line in printed.splitlines()[4:]] == ["0", "2", "all"]
    assert len(list(tmp_path.glob("*.npz"))) == 3
