"""The report of a run vouches for the run's files: those of another run or state are refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from fgembed.config import read_config
from fgembed.disk.files import read_toml, sha256
from fgembed.disk.sealed_files import KEY, TOML_START
from fgembed.errors import IntegrityError, NotFoundError
from fgembed.evaluation.finished_run import read_run_report
from fgembed.export.run_source import Source
from fgembed.model.encoder import Encoder
from fgembed.model.encoder_files import load_encoder, save_encoder
from fgembed.model.reading.multi_level import Reading, reading_of
from fgembed.model.reading.whitening import Whitening
from fgembed.training.resuming.checkpoint import load_state, read_position
from fgembed.workspace import EncoderFolder, RunFolder
from tests.conftest import Command
from tests.end_to_end.refusals import refused

FILES = [
    "config.toml", "encoder.json", "start/encoder.json", "encoder.safetensors",
    "start/encoder.safetensors", "start/whitenings.safetensors",
]  # fmt: skip


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> RunFolder:
    shutil.copytree(run, tmp_path / "runs" / "copy")
    return RunFolder(tmp_path / "runs" / "copy")


def as_earlier(run: RunFolder) -> None:
    """Makes the run one that an fgembed without these checksums and a fitted reading wrote."""
    for encoder in (run.encoder, run.start):
        read_by_levels(encoder)
    report = json.loads(run.report.read_text())
    for key in (KEY, "format", "files"):
        del report[key]
    run.report.write_text(json.dumps(report, indent=2) + "\n")
    for encoder in (run.encoder, run.start):
        description = json.loads(encoder.description.read_text())
        del description[KEY], description["mean_beside"]
        encoder.description.write_text(json.dumps(description | {"format": 2}))
    text = run.config.read_text().removeprefix(TOML_START)
    run.config.write_text(text[: text.rindex("\n#")])


def read_by_levels(folder: EncoderFolder) -> None:
    """Writes the encoder anew as one that does not read the mean beside its levels."""
    fitted, spec = load_encoder(folder.path)
    assert fitted.reading.mean_beside
    reading = replace(fitted.reading, mean_beside=False)
    plain = Encoder(fitted.backbone, fitted.pooling, reading=reading)
    plain.whitening = Whitening(plain.dimensions, 16)
    save_encoder(folder.path, plain, spec)


def test_the_report_names_the_checksum_of_each_file(copied: RunFolder):
    report = read_run_report(copied)
    assert report["format"] == 2
    assert report["files"] == {name: sha256(copied.path / name) for name in FILES}
    assert KEY not in report


def test_an_edited_figure_is_refused(copied: RunFolder):
    figure = json.loads(copied.report.read_text())["guard"]["trained"]
    copied.report.write_text(copied.report.read_text().replace(repr(figure), "0.9999"))
    with pytest.raises(
        IntegrityError, match=r'damaged or was edited: .* with "fgembed train --resume --run \S+"$'
    ):
        read_run_report(copied)


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_state_of_the_run_is_refused(copied: RunFolder, name: str):
    file = copied.path / name
    if file == copied.config:
        from fgembed.config import read_config, write_config

        config = read_config(file).model_copy(update={"seed": 5})
        write_config(file, config)
    else:
        file.write_bytes(file.read_bytes() + b"\n")
    with pytest.raises(IntegrityError, match=rf"{name} is not the one that \S+ is about; restore"):
        read_run_report(copied)


def test_another_encoder_with_sound_checksums_is_refused(copied: RunFolder):
    """As after a kill between the new encoder of a resumed run and its report."""
    encoder, spec = load_encoder(copied.start.path)
    save_encoder(copied.path, encoder, spec)
    assert load_encoder(copied.path)[1] == spec
    with pytest.raises(IntegrityError, match=r"/encoder\.json is not the one that .*--resume"):
        Source.open(copied.path)


def test_settings_that_a_user_declared_edited_are_no_other_run(copied: RunFolder):
    text = copied.config.read_text().replace("seed = 0", "seed = 0 # my favourite")
    copied.config.write_text(text)
    with pytest.raises(IntegrityError, match=r"config\.toml is damaged or was edited"):
        Source.open(copied.path)
    copied.config.write_text(f'{text[: text.rindex("#")]}# {KEY} = "edited"\n')
    assert Source.open(copied.path).settings["seed"] == 0


def test_the_command_names_edited_settings_and_accepts_them_by_a_word(
    command: Command, copied: RunFolder
):
    sound = copied.config.read_text()
    copied.config.write_text(sound.replace("batch_size = 8", "batch_size = 6"))
    done = command("train", "--resume", "--run", "copy")
    refused(done, 5, "runs/copy/config.toml is damaged or was edited", 'the word "edited" in place')
    edited = copied.config.read_text()
    copied.config.write_text(f'{edited[: edited.rindex("#")]}# {KEY} = "edited"\n')
    done = command("train", "--resume", "--run", "copy")
    refused(done, 2, "optimiser.batch_size is 6", "set it back to 8")
    copied.config.write_text(sound)
    assert Source.open(copied.path).settings["optimiser"]["batch_size"] == 8


def test_a_run_of_an_earlier_fgembed_is_read(copied: RunFolder):
    current = Source.open(copied.path)
    as_earlier(copied)
    earlier = Source.open(copied.path)
    assert earlier.settings == current.settings
    assert earlier.verdict == current.verdict
    assert earlier.spec == current.spec
    assert not earlier.encoder.reading.mean_beside


def test_a_run_from_before_the_fitted_reading_goes_on_with_the_whitening_alone(copied: RunFolder):
    settings = read_toml(copied.config)
    for key in ("mean_weight", "larger", "ridge"):
        del settings["pooling"][key]
    copied.config.write_text(tomli_w.dumps(settings))
    pooling = read_config(copied.config).pooling
    assert (pooling.mean_weight, pooling.larger, pooling.whitening) == (0, 1, 16)
    assert reading_of(pooling) == Reading((0.72, 0.89), mirror=True)


def test_an_unfinished_run_has_no_report(copied: RunFolder):
    copied.report.unlink()
    with pytest.raises(NotFoundError, match=r"is not finished; finish it with .*--resume"):
        read_run_report(copied)


def test_another_file_of_a_run_is_no_checkpoint(copied: RunFolder):
    shutil.copy(copied.encoder.weights, copied.checkpoint)
    with pytest.raises(IntegrityError):
        read_position(copied)


def test_a_best_encoder_in_place_of_the_checkpoint_is_refused(copied: RunFolder, run: Path):
    from torch import nn

    from fgembed.training.resuming.state_file import read_state_file, write_state_file

    tensors, _ = read_state_file(copied.checkpoint)
    note: dict[str, Any] = {"how": "test", "epoch": 1, "recall": 0.5, "queries": 9}
    write_state_file(copied.checkpoint, tensors, note)
    with pytest.raises(IntegrityError, match=r"is no checkpoint: unknown key 'epoch'; restore it"):
        read_position(copied)
    with pytest.raises(IntegrityError):
        load_state(copied, nn.Module(), [])


def test_the_settings_of_another_run_are_not_evaluated(copied: RunFolder):
    from fgembed.config import read_config, write_config
    from fgembed.evaluation.subject import Subject

    assert Subject.find(str(copied.path), None, None, None).run == copied.path
    write_config(copied.config, read_config(copied.config).model_copy(update={"seed": 5}))
    with pytest.raises(IntegrityError, match=r"config\.toml is not the one that"):
        Subject.find(str(copied.path), None, None, None)
