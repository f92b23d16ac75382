"""What a training step on a CPU costs if freed memory stays with the process, and if it does not.

    python -m benchmarks.freed_memory [--backbone torchvision/mobilenet_v2] [--size 160] \
        [--batch 64] [--rounds 5]

Processes that keep it (`fgembed.model.freed_memory`) and processes that leave it to glibc take
turns; each takes some forward and backward passes. Printed: seconds and page faults of a step, and
the ratio of kept to left, medians over rounds.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from statistics import median

import torch

from fgembed.backbones import make_backbone
from fgembed.cores import core_count
from fgembed.model.freed_memory import keep_freed_memory

STEPS = 4
Measured = dict[str, float]


def steps(arguments: argparse.Namespace) -> Measured:
    """Seconds and page faults of a step in this process; the first is not counted."""
    torch.set_num_threads(core_count())
    if arguments.child == "keep" and not keep_freed_memory():
        sys.exit("error: no glibc serves this process")
    backbone = make_backbone(arguments.backbone, size=arguments.size).train()
    backbone.to(memory_format=torch.channels_last)
    images = torch.rand(arguments.batch, 3, arguments.size, arguments.size)
    images = images.to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(backbone.parameters(), lr=1e-3)
    for number in range(STEPS + 1):
        if number == 1:
            started_at, faults = time.perf_counter(), page_faults()
        optimiser.zero_grad()
        backbone(images).square().mean().backward()
        optimiser.step()
    seconds = (time.perf_counter() - started_at) / STEPS
    return {"seconds": seconds, "faults": (page_faults() - faults) / STEPS}


def page_faults() -> int:
    """Those of this process so far that no file had to be read for."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def measure(arguments: argparse.Namespace) -> dict[str, list[Measured]]:
    """Rounds of both, each in a process of its own."""
    options = [f"--{name}={getattr(arguments, name)}" for name in ("backbone", "size", "batch")]
    rounds: dict[str, list[Measured]] = {"keep": [], "leave": []}
    for _ in range(arguments.rounds):
        for how, measured in rounds.items():
            command = [sys.executable, "-m", "benchmarks.freed_memory", "--child", how, *options]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            measured.append(json.loads(done.stdout))
    return rounds


def summary(rounds: dict[str, list[Measured]]) -> list[str]:
    """A line for each way, and the ratio."""
    lines = [
        f"{how}: {median(one['seconds'] for one in measured):.3f} s and "
        f"{median(one['faults'] for one in measured):,.0f} page faults a step"
        for how, measured in rounds.items()
    ]
    ratios = [
        kept["seconds"] / left["seconds"]
        for kept, left in zip(rounds["keep"], rounds["leave"], strict=True)
    ]
    return [*lines, f"ratio {median(ratios):.2f} ({min(ratios):.2f}..{max(ratios):.2f})"]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--backbone", default="torchvision/mobilenet_v2")
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", choices=["keep", "leave"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        sys.stdout.write(json.dumps(steps(arguments)))
    else:
        sys.stdout.write("\n".join(summary(measure(arguments))) + "\n")


if __name__ == "__main__":
    main()
