"""The figures of a run, as JSON lines and as TensorBoard reads them."""

import json
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
    EventAccumulator,
)

from fgembed.training.metrics_log import MetricsLog
from fgembed.workspace import RunFolder


def lines(run: RunFolder) -> list[dict[str, float]]:
    return [json.loads(line) for line in run.metrics.read_text().splitlines()]


def scalars(run: RunFolder, name: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(run.path / "tensorboard")).Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_figures_go_to_json_lines_and_to_tensorboard(tmp_path: Path):
    run = RunFolder(tmp_path)
    with MetricsLog(run, start=0) as log:
        log.write(0, {"loss": 2.5, "learning_rate": 0.5})
        log.write(3, {"loss": 1.25})
    assert lines(run) == [
        {"step": 0, "loss": 2.5, "learning_rate": 0.5},
        {"step": 3, "loss": 1.25},
    ]
    assert scalars(run, "loss") == [(0, 2.5), (3, 1.25)]
    assert scalars(run, "learning_rate") == [(0, 0.5)]


def test_a_resumed_log_drops_what_was_logged_after_the_checkpoint(tmp_path: Path):
    run = RunFolder(tmp_path)
    with MetricsLog(run, start=0) as log:
        for step in range(5):
            log.write(step, {"loss": float(step)})
    with run.metrics.open("a") as file:
        file.write('{"step": 1, "lo')  # a kill cut this line short
    with MetricsLog(run, start=2) as log:
        log.write(2, {"loss": 20.0})
    assert [(line["step"], line["loss"]) for line in lines(run)] == [(0, 0.0), (1, 1.0), (2, 20.0)]
    assert scalars(run, "loss") == [(0, 0.0), (1, 1.0), (2, 20.0)]


def test_a_damaged_line_is_dropped_on_resume_and_the_others_stay(tmp_path: Path):
    run = RunFolder(tmp_path)
    run.metrics.write_bytes(b'{"step": 0}\n{"st\xffp": 1}\n\0\0\0\n[3]\n{"step": 4, "loss": 2.0}\n')
    with MetricsLog(run, start=9):
        pass
    assert run.metrics.read_bytes() == b'{"step": 0}\n{"step": 4, "loss": 2.0}\n'
