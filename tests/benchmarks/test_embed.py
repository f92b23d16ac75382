"""The embedding benchmark: its ratios from processes of known times, and its own rival for real."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.embed import FLOORS, OURS, main, measure

ANSWERS = """
import json, sys
times = json.loads(sys.argv[1])
print(json.dumps({"ready": True}), flush=True)
for line, seconds in zip(sys.stdin, times):
    print(json.dumps({"seconds": seconds, "peak_mb": 7.4}), flush=True)
"""


def scripted(*seconds: float) -> list[str]:
    return [sys.executable, "-c", ANSWERS, json.dumps(seconds)]


def test_ratios_are_medians_over_rounds_and_the_first_round_does_not_count(tmp_path: Path):
    commands = {
        FLOORS[0]: scripted(99, 2, 2, 2),
        FLOORS[1]: scripted(99, 1, 2, 1),  # the faster floor
        OURS: scripted(99, 1, 1, 4),
    }
    found = measure(commands, 10, 3, tmp_path / "log")
    assert found[OURS] == {
        "images_per_s": 10.0,
        "ratio_to_floor": 1.0,  # of 1, 2 and 0.25
        "ours_is_times_as_fast": 1.0,
        "peak_mb": 7,
    }
    assert found[FLOORS[0]]["ratio_to_floor"] == 0.5
    assert found[FLOORS[0]]["ours_is_times_as_fast"] == 2.0  # of 2, 2 and 0.5


def test_a_rival_that_dies_is_shown_with_its_last_words(tmp_path: Path):
    dying = [sys.executable, "-c", "raise SystemExit('no such model')"]
    with pytest.raises(RuntimeError, match="no such model"):
        measure({FLOORS[0]: dying}, 10, 1, tmp_path / "log")


@pytest.mark.slow
def test_the_floor_and_fgembed_take_part_for_real(monkeypatch, tmp_path: Path):
    out = tmp_path / "embed.json"
    line = ["embed", "--backbone", "torchvision/resnet18:layer1", "--size", "64"]
    line += ["--pictures", "20", "--rounds", "1", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", line)
    main()
    rivals = json.loads(out.read_text())["rivals"]
    assert {FLOORS[0], FLOORS[1], OURS, "fgembed int8, JPEG files"} <= rivals.keys()
    assert all(each["images_per_s"] > 0 and each["peak_mb"] > 50 for each in rivals.values())
    left = subprocess.run(
        ["pgrep", "-f", "benchmarks.peers.embedders"], capture_output=True, text=True
    )
    assert left.stdout == ""
