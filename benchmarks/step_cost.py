"""What one training step of each method costs, against MoCo v2's in the same run.

Each method is built from its recipe, on the same backbone, size and batch, and takes whole steps
(key update, forward, backward, optimiser) on views that its own view maker made of random
images beforehand, so no loader is measured. One step of each in turn, many rounds: a busy
machine slows all of them. The ratio is the median over rounds of step time / MoCo's step time.

    python benchmarks/step_cost.py --methods lcr synpair --set lcr.queue_size=2048 --out cost.json

--methods takes names of methods, which bring the recipe of their name, or of other recipes.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import default_collate

from fgembed.backbones import make_backbone
from fgembed.config import RunConfig
from fgembed.cores import core_count
from fgembed.data.views import Positioned
from fgembed.errors import ConfigError, FgembedError
from fgembed.methods.base import Method
from fgembed.methods.table import METHODS, method_named
from fgembed.model.devices import choose_device
from fgembed.resolve import merge, parse_assignment, resolve
from fgembed.training.loop import take_step, to_device
from fgembed.training.optimiser import make_optimisers, set_learning_rates
from fgembed.training.preparation import make_method, resolved, trains
from fgembed.training.teachers.targets import give_placeholders

BASE = "moco"
WARM_UP = 2  # rounds that are not counted


@dataclass(frozen=True)
class Contender:
    """One method, ready to step again and again on the same views."""

    config: RunConfig
    method: Method
    optimisers: list[torch.optim.Optimizer]
    views: list[torch.Tensor]

    def step_s(self) -> float:
        """Seconds of one whole step."""
        started = time.perf_counter()
        take_step(self.method, self.optimisers, self.views, self.config.precision)
        if self.views[0].device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started


def settings(name: str, arguments: argparse.Namespace, overrides: dict[str, Any]) -> RunConfig:
    """The recipe's settings with those of this benchmark and `overrides` of the method."""
    named = {"method": {"name": name}} if name in METHODS else {"recipe": name}
    common = {
        "backbone": {"name": arguments.backbone, "weights": "random"},
        "preprocessing": {"size": arguments.size},
        "optimiser": {"batch_size": arguments.batch},
        "precision": arguments.precision,
    }
    return resolve(common, merge(named, {"method": overrides}), f"settings of {name}")


def contender(config: RunConfig, device: torch.device) -> Contender:
    """Builds the method, its optimisers and one batch of its views."""
    method = make_method(config, method_named(config.method.name))
    config = resolved(config, method)
    method.check_batch(config.optimiser.batch_size)
    method.to(device).to(memory_format=torch.channels_last)
    method.train()
    method.progress = 0.5  # past whatever a method warms up
    optimisers = make_optimisers(method, config.optimiser)
    set_learning_rates(optimisers, 1.0)
    size = config.preprocessing.size
    noise = np.random.default_rng(0).integers(
        0, 256, (config.optimiser.batch_size, size, size, 3), np.uint8
    )
    view_maker = type(method).view_maker(config.views, config.preprocessing)
    views = default_collate([view_maker(Image.fromarray(picture)) for picture in noise])
    if isinstance(view_maker, Positioned):
        views.append(torch.arange(len(noise)))
    give_placeholders(method, len(noise))
    return Contender(config, method, optimisers, to_device(views, device))


def contenders(
    arguments: argparse.Namespace, device: torch.device
) -> tuple[dict[str, Contender], dict[str, str]]:
    """The methods that can be measured, the base first, and why the others cannot."""
    names = list(dict.fromkeys([BASE, *(arguments.methods or METHODS)]))
    assigned: dict[str, Any] = {}
    for text in arguments.assign:
        assigned = merge(assigned, parse_assignment(text))
    if unknown := [name for name in assigned if name not in names]:
        raise ConfigError(
            f"--set names {unknown[0]!r}, which is not measured",
            f"give settings of {', '.join(names)}",
        )
    attentive = make_backbone(arguments.backbone, size=arguments.size).has_attention
    built: dict[str, Contender] = {}
    skipped: dict[str, str] = {}
    for name in names:
        config = settings(name, arguments, assigned.get(name, {}))
        if method_named(config.method.name).needs_attention and not attentive:
            skipped[name] = f"needs a vision transformer, {arguments.backbone} is none"
            continue
        ready = contender(config, device)
        if trains(config, ready.method):
            built[name] = ready
        else:
            skipped[name] = "trains nothing"
    return built, skipped


def summary(times: dict[str, list[float]]) -> dict[str, dict[str, Any]]:
    """Median seconds of each, and the median and quartiles of each round's ratio to the base."""
    table = {}
    for name, seconds in times.items():
        ratios = [time_s / base_s for time_s, base_s in zip(seconds, times[BASE], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
        table[name] = {
            "step_s": round(statistics.median(seconds), 5),
            "ratio": round(middle, 3),
            "ratio_quartiles": [round(low, 3), round(high, 3)],
        }
    return table


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Steps every method in turn, round by round."""
    device = choose_device(arguments.device)
    torch.set_num_threads(arguments.threads or core_count())
    built, skipped = contenders(arguments, device)
    rounds = [
        {name: method.step_s() for name, method in built.items()}
        for _ in range(WARM_UP + arguments.rounds)
    ][WARM_UP:]
    methods = summary({name: [times[name] for times in rounds] for name in built})
    gpu = torch.cuda.get_device_name() if device.type == "cuda" else "none"
    return {
        "machine": f"{platform.machine()}, {platform.processor() or platform.platform()}",
        "gpu": gpu,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "backbone": arguments.backbone,
        "size": arguments.size,
        "batch": arguments.batch,
        "precision": arguments.precision,
        "rounds": arguments.rounds,
        "set": arguments.assign,
        "methods": {name: {"recipe": built[name].config.recipe} | methods[name] for name in built},
        "skipped": skipped,
    }


def show(result: dict[str, Any]) -> None:
    """Prints what was measured on what, then a line for each method."""
    for key, value in result.items():
        if key not in ("methods", "skipped"):
            print(f"{key:10} {value}")
    print(f"\n{'method':16} {'step':>10}  x {BASE} (quartiles)")
    for name, row in result["methods"].items():
        low, high = row["ratio_quartiles"]
        print(f"{name:16} {row['step_s']:8.4f} s  {row['ratio']:.3f} ({low:.3f}..{high:.3f})")
    for name, reason in result["skipped"].items():
        print(f"{name:16} skipped: {reason}")


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backbone", default="torchvision/mobilenet_v2")
    parser.add_argument("--size", type=int, default=128, help="side of the images, in pixels")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=0, help="0 for one a core")
    parser.add_argument("--rounds", type=int, default=15, help="at least 2")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--methods", nargs="+", help="methods or recipes; else all methods")
    parser.add_argument(
        "--set", dest="assign", action="append", default=[], metavar="METHOD.KEY=VALUE"
    )
    parser.add_argument("--out", type=Path, help="also write JSON")
    return parser.parse_args()


def main() -> None:
    """Measures, prints, writes."""
    arguments = parse()
    try:
        result = measure(arguments)
    except FgembedError as error:
        sys.exit(f"error: {error}")
    show(result)
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
