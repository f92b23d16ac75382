"""The loop: exact resume, the order of a step, and the files that it writes."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

import fgembed.training.loop
from fgembed.config import RunConfig
from fgembed.errors import ConfigError, FgembedError, IntegrityError
from fgembed.methods.lcr import LCR
from fgembed.methods.table import method_named
from fgembed.model.tensor_files import read_tensors
from fgembed.resolve import resolve
from fgembed.training.loop import Progress
from fgembed.training.run import run_training


class Killed(BaseException):
    """Stands in for a kill: nothing in the product catches it."""


def settings(tiny_settings: dict[str, Any], **extra: Any) -> RunConfig:
    learning = {"epochs": 2, "batch_size": 8, "learning_rate": 0.01, "log_every_step": True}
    plain = {key: value for key, value in tiny_settings.items() if key != "eval"}
    lcr = {"method": {"name": "lcr", "queue_size": 16, "key_groups": 2}, "optimiser": learning}
    return resolve(plain | lcr, extra, "tests")


def losses(folder: Path) -> list[tuple[int, float, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["contrast"], line["rationale"]) for line in lines]


def train(config: RunConfig, folder: Path, kill_at: int | None = None) -> None:
    def report(progress: Progress) -> None:
        if progress.step == kill_at:
            raise Killed

    run_training(config, method_named("lcr"), folder, report)


@pytest.mark.slow
@pytest.mark.parametrize("checkpoint_every_s", [300.0, 1e-9])
def test_a_killed_run_continues_exactly(
    tiny_settings: dict[str, Any], tmp_path: Path, checkpoint_every_s: float
):
    """Killed in the second epoch, with checkpoints each epoch or each step."""
    config = settings(tiny_settings, checkpoint_every_s=checkpoint_every_s)
    train(config, tmp_path / "complete")
    with pytest.raises(Killed):
        train(config, tmp_path / "killed", kill_at=5)
    torch.manual_seed(99)  # the resumed process starts with other random numbers
    train(config, tmp_path / "killed")
    assert losses(tmp_path / "killed") == losses(tmp_path / "complete")
    assert len(losses(tmp_path / "complete")) == 6
    complete, killed = (
        read_tensors(tmp_path / name / "encoder.safetensors") for name in ("complete", "killed")
    )
    assert all(torch.equal(complete[name], killed[name]) for name in complete)


@pytest.mark.slow
def test_the_resolved_settings_rerun_to_the_same_losses(
    tiny_settings: dict[str, Any], tmp_path: Path
):
    from fgembed.config import validate
    from fgembed.disk.files import read_toml

    train(settings(tiny_settings), tmp_path / "first")
    again = validate(RunConfig, read_toml(tmp_path / "first" / "config.toml"), "config.toml")
    train(again, tmp_path / "again")
    assert losses(tmp_path / "again") == losses(tmp_path / "first")


@pytest.mark.slow
def test_workers_do_not_change_the_views(tiny_settings: dict[str, Any], tmp_path: Path):
    for workers in (0, 2):
        config = settings(tiny_settings, workers=workers, optimiser={"epochs": 1})
        train(config, tmp_path / str(workers))
    assert losses(tmp_path / "0") == losses(tmp_path / "2")


@pytest.mark.slow
def test_other_images_than_the_checkpoint_s_are_refused(
    tiny_settings: dict[str, Any], tmp_path: Path, photos: Path
):
    config = settings(tiny_settings)
    with pytest.raises(Killed):
        train(config, tmp_path / "run", kill_at=5)
    changed = config.model_copy(update={"images": str(photos / "test")})
    with pytest.raises(
        FgembedError,
        match=r"images changed since the checkpoint in .*/run: .* has different content; put",
    ):
        train(changed, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [("sgd", "adamw"), ("adamw", "sgd")])
def test_a_checkpoint_of_another_optimiser_is_refused(
    tiny_settings: dict[str, Any], tmp_path: Path, before: str, after: str
):
    with pytest.raises(Killed):
        train(settings(tiny_settings, optimiser={"name": before}), tmp_path / "run", kill_at=5)
    words = f'optimiser.name is "{after}" in .*config.toml, but was "{before}" up to the checkpoint'
    with pytest.raises(ConfigError, match=words):
        train(settings(tiny_settings, optimiser={"name": after}), tmp_path / "run")


@pytest.mark.slow
def test_a_truncated_checkpoint_is_refused_as_damaged(
    tiny_settings: dict[str, Any], tmp_path: Path
):
    config = settings(tiny_settings)
    with pytest.raises(Killed):
        train(config, tmp_path / "run", kill_at=5)
    state = tmp_path / "run" / "state" / "checkpoint.safetensors"
    state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(IntegrityError, match="damaged"):
        train(config, tmp_path / "run")


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_the_run(
    tiny_settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def broken(*_: object) -> dict[str, torch.Tensor]:
        return {"contrast": torch.tensor(math.nan, requires_grad=True)}

    monkeypatch.setattr(fgembed.training.loop, "take_step", broken)
    with pytest.raises(FgembedError, match=r"'contrast' is not finite at step 1; .*learning_rate"):
        train(settings(tiny_settings), tmp_path / "run")
    assert not (tmp_path / "run" / "state").exists()


class Recorded(Exception):
    """Ends a training after the recorded step."""


@pytest.mark.slow
def test_a_step_moves_the_keys_first_and_the_encoder_at_its_scale(
    tiny_settings: dict[str, Any], tmp_path: Path
):
    """Two steps of plain SGD: the key encoder lags by the momentum, the scale is the scale."""
    plain = {"momentum": 0.0, "weight_decay": 0.0, "encoder_scale": 0.25}
    config = settings(tiny_settings, optimiser=plain, method={"momentum": 0.75})
    seen: list[dict[str, torch.Tensor]] = []
    watched: dict[str, torch.Tensor] = {}
    gradients: dict[str, torch.Tensor] = {}

    class Watched(LCR):
        def forward(self, views: Any) -> Any:
            query, key = (dict(m.named_parameters()) for m in self.momentum_pairs()[0])
            heads = dict(self.projector.named_parameters())
            live = {"query": query["trunk.conv1.weight"], "head": heads["0.weight"]}
            copies = {name: weight.detach().clone() for name, weight in live.items()}
            copies["key"] = key["trunk.conv1.weight"].detach().clone()
            seen.append(copies)
            watched.update(live)
            if len(seen) == 2:
                raise Recorded
            return super().forward(views)

    def report(_: Progress) -> None:
        for name, weight in watched.items():
            assert weight.grad is not None
            gradients[name] = weight.grad.clone()

    with pytest.raises(Recorded):
        run_training(config, Watched, tmp_path / "run", report)
    first, second = seen
    expected_key = 0.75 * first["key"] + 0.25 * second["query"]
    torch.testing.assert_close(second["key"], expected_key)
    torch.testing.assert_close(second["head"], first["head"] - 0.01 * gradients["head"])
    torch.testing.assert_close(second["query"], first["query"] - 0.25 * 0.01 * gradients["query"])
    assert float((second["query"] - first["query"]).abs().max()) > 0
