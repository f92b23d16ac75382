"""What each reading of the untouched start costs, against mean pooling in the same run.

One batch of ready pixels through each reading in turn, many rounds: inner levels are nearly free,
the mirror image doubles the time. The ratio is the median over rounds.

    python benchmarks/adaptation/reading_cost.py --backbone torchvision/mobilenet_v2 --size 160
"""

import argparse
import json
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from fgembed.backbones import make_backbone
from fgembed.config import PoolingSettings
from fgembed.cores import core_count
from fgembed.evaluation.floors import Floors, uncalibrated_start
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.encoder import Encoder, PixelEncoder
from fgembed.model.reading.whitening import Whitening

WARM_UP = 2  # rounds that are not counted


def readings(backbone: str, size: int) -> dict[str, PixelEncoder]:
    """The floors and the calibrated start without its mirror image, random weights throughout."""
    network, spec = make_backbone(backbone, size=size), Preprocessing(size=size)
    start = uncalibrated_start(network, PoolingSettings())
    plain = uncalibrated_start(network, PoolingSettings(mirror=False))
    floors = Floors(start, spec)
    highest = floors.calibrated_start
    unmirrored = Floors(plain, spec).calibrated_start
    ordered = [*floors.unwhitened, *floors.whitened, unmirrored, highest]
    return {floor.name: _ready(floor.encoder, size) for floor in ordered}


def measure(backbone: str, size: int, batch: int, rounds: int) -> dict[str, Any]:
    """Milliseconds an image of each reading, and the median ratio to the first."""
    models = readings(backbone, size)
    pixels = torch.randint(0, 256, (batch, size, size, 3), dtype=torch.uint8)
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(WARM_UP + rounds):
        for name, model in models.items():
            started = time.perf_counter()
            with torch.inference_mode():
                model(pixels)
            seconds[name].append(time.perf_counter() - started)
    counted = {name: times[WARM_UP:] for name, times in seconds.items()}
    base = next(iter(counted.values()))
    return {
        "machine": f"{platform.machine()}, {platform.platform()}",
        "threads": torch.get_num_threads(),
        "backbone": backbone,
        "size": size,
        "batch": batch,
        "readings": {
            name: {
                "ms_a_picture": round(1000 * statistics.median(times) / batch, 3),
                "ratio": round(
                    statistics.median(
                        time_s / base_s for time_s, base_s in zip(times, base, strict=True)
                    ),
                    3,
                ),
            }
            for name, times in counted.items()
        },
    }


def main() -> None:
    """Prints the figures as JSON, and writes them where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backbone", default="torchvision/mobilenet_v2")
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(core_count())
    result = measure(arguments.backbone, arguments.size, arguments.batch, arguments.rounds)
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


def _ready(encoder: Encoder, size: int) -> PixelEncoder:
    """As it is exported, with a whitening of 512 dimensions unless it is the plain mean."""
    if encoder.pooling.kind != "mean" or encoder.levels is not None:
        encoder.whitening = Whitening(encoder.dimensions, min(512, encoder.dimensions))
    model = PixelEncoder(encoder, Preprocessing(size=size)).eval()
    return model.to(memory_format=torch.channels_last)


if __name__ == "__main__":
    main()
