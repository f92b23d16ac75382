"""Two commands at once on one folder, and commands that are killed: real processes."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from tests.children import ended, kill, python, started, wait_until
from tests.conftest import Command

HOLD = """
import sys
from pathlib import Path
from fgembed.disk.locks import lock_beside, sole_writer
folder, name = Path(sys.argv[1]), sys.argv[2]
with sole_writer(folder, lock_beside(folder) if name == "beside" else folder / name):
    print("held", flush=True)
    sys.stdin.read()
"""
IN_USE = "another process is writing"
LONG = ["--set", "optimiser.epochs=1000", "--set", "workers=2"]


@pytest.fixture
def workspace(tmp_path: Path, tiny_settings: dict[str, Any]) -> Path:
    learning = {"epochs": 1, "batch_size": 8}
    method = {"name": "moco", "queue_size": 16}
    settings = tiny_settings | {"optimiser": learning, "method": method}
    (tmp_path / "fgembed.toml").write_text(tomli_w.dumps(settings))
    return tmp_path


@pytest.mark.slow
def test_two_trainings_at_once_are_two_runs(workspace: Path) -> None:
    processes = [started(workspace, "train", "--json", "--set", f"seed={n}") for n in (1, 2)]
    answers = [ended(process).answer() for process in processes]
    assert {answer["run"] for answer in answers} == {"runs/moco-1", "runs/moco-2"}
    for seed, answer in enumerate(answers, start=1):
        assert f"seed = {seed}\n" in (workspace / answer["run"] / "config.toml").read_text()
    assert (workspace / "runs" / "latest").resolve().name in ("moco-1", "moco-2")


@pytest.mark.slow
def test_of_two_trainings_of_one_name_the_second_is_refused(workspace: Path) -> None:
    processes = [started(workspace, "train", "--run", "mine") for _ in range(2)]
    done = sorted((ended(process) for process in processes), key=lambda outcome: outcome.code)
    assert [outcome.code for outcome in done] == [0, 1]
    last = done[1].err.splitlines()[-1]
    assert last.startswith("error: ") and (IN_USE in last or "runs/mine exists" in last)


@pytest.mark.slow
def test_a_run_is_resumed_when_its_process_is_killed_and_not_before(workspace: Path) -> None:
    """The loader processes of a killed training live on for seconds, and hold nothing."""
    training = started(workspace, "train", "--run", "long", *LONG)
    run = workspace / "runs" / "long"
    wait_until((run / "state" / "checkpoint.safetensors").is_file, training)
    before = (run / "metrics.jsonl").read_bytes()
    for arguments in (("--resume", "--run", "long"), ("--resume",)):
        done = ended(started(workspace, "train", *arguments))
        assert done.code == 1
        assert f"{IN_USE} " in done.err and "runs/long; wait for it to end" in done.err
    assert (run / "metrics.jsonl").read_bytes()[: len(before)] == before
    kill(training)
    assert (run / ".lock").is_file()
    resumed = started(workspace, "train", "--resume")
    written = (run / "state" / "checkpoint.safetensors").stat().st_mtime_ns
    checkpoint = run / "state" / "checkpoint.safetensors"
    wait_until(lambda: checkpoint.stat().st_mtime_ns != written, resumed)
    kill(resumed)


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [0.5, 2.0, 3.5])
def test_a_training_that_is_killed_as_it_starts_can_be_started_again(
    workspace: Path, after_s: float
) -> None:
    training = started(workspace, "train", "--run", "mine", "--set", "workers=2")
    time.sleep(after_s)
    kill(training)
    begun = (workspace / "runs/mine/config.toml").is_file()
    done = ended(started(workspace, "train", "--run", "mine", *(["--resume"] if begun else [])))
    assert done.code == 0, done.err
    assert sorted(path.name for path in (workspace / "runs").iterdir()) == ["latest", "mine"]


@pytest.mark.parametrize(
    ("folder", "lock", "arguments"),
    [
        ("new", "beside", ["export", "{run}", "--out", "new"]),
        ("new", "beside", ["export", "{run}", "--layout", "fastembed", "--out", "new"]),
        ("new", "beside", ["index", "export", "new", "--index", "{index}"]),
        ("new", ".lock", ["index", "build", "{photos}", "--bundle", "{bundle}", "--out", "new"]),
        ("new", ".lock-1-of-1", ["embed", "{photos}", "--bundle", "{bundle}", "--out", "new"]),
        ("new", ".lock-1-of-2", ["embed", "{photos}", "--bundle", "{bundle}", "--out", "new"]),
        ("new", ".lock", ["evaluate", "{run}", "--report", "new"]),
        ("new", ".lock", ["demo", "--out", "new"]),
        ("{run}", ".lock", ["train", "--resume", "--run", "{run}"]),
    ],
)
def test_a_folder_that_another_process_writes_is_refused_and_stays_as_it_is(
    command: Command, run: Path, index: Path, bundle: Path, photos: Path, tmp_path: Path,
    folder: str, lock: str, arguments: list[str],
) -> None:  # fmt: skip
    places = {"run": run, "index": index, "bundle": bundle, "photos": photos / "test"}
    held = tmp_path / folder.format(**places)
    if lock != "beside":
        held.mkdir(exist_ok=True)
    before = sorted(path.name for path in held.iterdir()) if held.exists() else None
    holder = python(HOLD, held, lock)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    done = command(*(text.format(**places) for text in arguments))
    ended(holder)
    assert (done.code, done.out) == (1, "")
    assert IN_USE in done.err.splitlines()[-1], done.err
    left = sorted(path.name for path in held.iterdir()) if held.exists() else None
    assert left == before or left == ["embed.json"]  # the plan, on which the two agree


def test_shares_that_have_no_part_in_common_are_written_at_once(
    command: Command, bundle: Path, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "new").mkdir()
    holder = python(HOLD, tmp_path / "new", ".lock-2-of-2")
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    embed = ["embed", photos / "train", "--bundle", bundle, "--out", "new", "--part-size", 5]
    done = command(*embed, "--shard", "1/2", "--json")
    assert done.answer()["written"] == 3
    for share in ("2/2", "1/1", "2/4", "4/4", "1/3"):
        done = command(*embed, "--shard", share)
        assert done.code == 1 and IN_USE in done.err, share
    ended(holder)
    assert command(*embed, "--shard", "2/2", "--json").answer()["written"] == 2
    assert not [path.name for path in (tmp_path / "new").iterdir() if "lock" in path.name]


@pytest.mark.slow
def test_two_processes_that_embed_everything_at_once_are_never_both_at_work(
    bundle: Path, photos: Path, tmp_path: Path
) -> None:
    embed = ["embed", photos / "train", "--bundle", bundle, "--out", "new", "--json"]
    done = [ended(process) for process in [started(tmp_path, *embed) for _ in range(2)]]
    for outcome in done:  # the second is refused, or came when the first had ended
        assert outcome.code == 0 or IN_USE in outcome.err
    written = [json.loads(outcome.out)["written"] for outcome in done if outcome.code == 0]
    assert sum(written) == 1


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["export", "embed", "build"])
def test_a_command_that_is_killed_anywhere_works_when_it_is_repeated(
    bundle: Path, run: Path, photos: Path, tmp_path: Path, verb: str
) -> None:
    arguments = {
        "export": ["export", run, "--out", "new"],
        "embed": ["embed", photos / "train", "--bundle", bundle, "--out", "new", "--part-size", 4],
        "build": ["index", "build", photos / "train", "--bundle", bundle, "--out", "new"],
    }[verb]
    for after_s in (0.7, 1.5, 2.5):
        process = started(tmp_path, *arguments)
        time.sleep(after_s)
        kill(process)
    done = ended(started(tmp_path, *arguments))
    assert done.code == 0, done.err
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
