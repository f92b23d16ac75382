"""What a resume says: where it continues, or that the run is finished."""

from pathlib import Path
from typing import Any

from fgembed.training.resuming.checkpoint import where_it_continues
from fgembed.workspace import RunFolder
from tests.conftest import Command
from tests.training.tiny_training import tiny_command


def test_a_resume_says_that_the_run_is_finished(command: Command, tiny_settings: dict[str, Any]):
    new = command(*tiny_command(tiny_settings, "optimiser.epochs=1"))
    assert new.code == 0, new.err
    assert "continues" not in new.err
    again = command("train", "--resume")
    assert "all 1 epochs of moco-1 are trained and it is finished" in again.err
    assert 'export it with "fgembed export moco-1", or train anew with "fgembed train"' in again.err


def test_a_resume_says_where_it_continues(tmp_path: Path):
    run = RunFolder(tmp_path / "moco-1")
    assert where_it_continues(run, 0, 12, 4) == (
        "moco-1 has no checkpoint yet: it begins with epoch 1 of 4"
    )
    for done, words in [
        (2, "epoch 1 of 4 (step 3"),
        (3, "epoch 2 of 4 (step 4"),
        (11, "epoch 4 of 4 (step 12"),
    ]:
        assert where_it_continues(run, done, 12, 4) == f"continues moco-1 at {words} of 12)"
    assert where_it_continues(run, 12, 12, 4) == (
        "all 4 epochs of moco-1 are trained; what is left: whitening and measuring"
    )
