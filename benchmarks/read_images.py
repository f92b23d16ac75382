"""What reading a photograph costs: with version 1 of the preprocessing, and with version 2.

    python -m benchmarks.read_images --out read.json

Reads one drawn JPEG of 12 megapixels with the earlier reading, with today's, and with a Display P3
and an Adobe RGB profile inside, at the sizes of the default and of a small input. Times are of this
thread's processor, in turns, and the medians over the turns are compared: other work on the machine
hardly counts.
"""

import argparse
import json
import statistics
import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from fgembed.images.colours.icc_profiles import (
    ADOBE_RGB,
    D65,
    DISPLAY_P3,
    gamma_curve,
    matrix_profile,
    srgb_curve,
)
from fgembed.images.preprocessing import Preprocessing, read_image

SIDE = (4000, 3000)
SIZES = (224, 160)
TURNS = 15


def photograph(size: tuple[int, int], profile: bytes | None) -> bytes:
    """A JPEG with soft shapes and some noise, of about a camera's bytes a pixel."""
    draw = np.random.default_rng(0)
    coarse = Image.fromarray(draw.integers(0, 255, (60, 80, 3), np.uint8))
    pixels = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC)).astype(np.int16)
    pixels += draw.integers(-8, 8, (size[1], size[0], 1), np.int16)
    stream = BytesIO()
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    image.save(stream, "JPEG", quality=90, icc_profile=profile)
    return stream.getvalue()


def measure(size: tuple[int, int] = SIDE, turns: int = TURNS) -> dict[str, dict[str, float]]:
    """By input size: the milliseconds of each way to read, and its ratio to the earlier one."""
    display_p3 = matrix_profile(DISPLAY_P3, D65, srgb_curve())
    adobe_rgb = matrix_profile(ADOBE_RGB, D65, gamma_curve(2.2))
    contents = {
        "earlier": photograph(size, None),
        "no profile": photograph(size, None),
        "Display P3": photograph(size, display_p3),
        "Adobe RGB": photograph(size, adobe_rgb),
    }
    return {f"{side} px": _in_turns(contents, Preprocessing(size=side), turns) for side in SIZES}


def _in_turns(contents: dict[str, bytes], spec: Preprocessing, turns: int) -> dict[str, float]:
    specs = {name: replace(spec, version=1 if name == "earlier" else 2) for name in contents}
    times: dict[str, list[float]] = {name: [] for name in contents}
    for turn in range(turns + 1):
        for name, content in contents.items():
            start = time.thread_time()
            read_image(BytesIO(content), specs[name])
            if turn:  # the first one loads decoders and profiles
                times[name].append(1000 * (time.thread_time() - start))
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratios = {f"{name}, ratio": ms / medians["earlier"] for name, ms in medians.items()}
    return medians | ratios


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="a JSON file for the table")
    parser.add_argument("--turns", type=int, default=TURNS)
    arguments = parser.parse_args()
    table = measure(turns=arguments.turns)
    for side, row in table.items():
        print(side, ", ".join(f"{name} {value:.2f}" for name, value in row.items()))
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(table, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
