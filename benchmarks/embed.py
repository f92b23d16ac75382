"""Images a second from JPEG files to vectors, against the model alone and its peers, in one run.

The floor is ONNX Runtime in a bare loop on pixels that are ready: what any reading of files can
only lose; of its two batch sizes the faster counts. Each rival is a process of its own, in an
environment of its own where it is another project's (`--peers`, made with pip). They take turns,
one pass over all images each, several rounds; a ratio is the median over rounds, so a machine
that others use slows all of them alike. Weights are random: the time does not depend on them.

    python -m benchmarks.embed --backbone torchvision/resnet50 --peers build/peers --out embed.json

With --bundle it is the bundle's own float32 and int8 files that are timed, without peers.
"""

import argparse
import json
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fgembed.backbones import make_backbone
from fgembed.bundle import MODEL_FILES, Bundle
from fgembed.config import PoolingSettings
from fgembed.cores import core_count
from fgembed.evaluation.floors import uncalibrated_start
from fgembed.export.layouts import write_layout
from fgembed.export.precision_loss import AgreementDrop
from fgembed.export.quantize import write_int8
from fgembed.export.to_onnx import write_onnx
from fgembed.images.preprocessing import Preprocessing, read_image
from fgembed.model.encoder import Encoder
from fgembed.model.pooling import MeanPooling
from fgembed.model.reading.whitening import Whitening

FLOORS = ("ONNX Runtime, ready pixels, batch 32", "ONNX Runtime, ready pixels, batch 8")
OURS = "fgembed, JPEG files"
RIVALS = {  # by name: the function of peers/embedders.py, and what it changes of the setup
    FLOORS[0]: 'floor:{"floor_batch": 32}',
    FLOORS[1]: 'floor:{"floor_batch": 8}',
    OURS: "fgembed",
    "ONNX Runtime int8, ready pixels, batch 8": 'floor:{"floor_batch": 8, "model": "int8.onnx"}',
    "ONNX Runtime int8, ready pixels, batch 32": 'floor:{"floor_batch": 32, "model": "int8.onnx"}',
    "fgembed int8, JPEG files": 'fgembed:{"model": "int8.onnx"}',
}
EAGER = {"torch eager, ready pixels": "torch_eager"}
COMPILED = {"torch compiled, ready pixels": "torch_compiled"}
PEERS = {  # by name: the same, and what pip installs for it
    "fastembed, JPEG files": ('fastembed:{"fastembed_batch": 16}', ["fastembed==0.9.1"]),
    "fastembed, one process a core": (
        'fastembed_parallel:{"fastembed_batch": 16}',
        ["fastembed==0.9.1"],
    ),
    "timm and a DataLoader, JPEG files": (
        "timm",
        ["timm==1.0.31", "torch==2.15.0", "torchvision==0.29.2"],
    ),
}


def photographs(folder: Path, count: int) -> list[Path]:
    """JPEG files of 500 x 375 px as large as photographs': smooth shapes under camera noise."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for number in range(count):
        coarse = random.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        image = np.asarray(Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC))
        noisy = (image + random.normal(0, 6, image.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{number:05}.jpg", quality=90)
    return sorted(folder.iterdir())


def encoder_of(backbone: str, size: int, reading: str) -> Encoder:
    """Mean pooling, or the calibrated reading with its mirror image; random weights."""
    network = make_backbone(backbone, size=size)
    if reading == "mean":
        return Encoder(network, MeanPooling()).eval()
    encoder = uncalibrated_start(network, PoolingSettings())
    encoder.whitening = Whitening(encoder.dimensions, min(512, encoder.dimensions))
    return encoder.eval()


def prepare(
    folder: Path, setup: dict[str, Any], image_count: int, bundle: Bundle | None = None
) -> None:
    """Writes what the rivals read: photographs, their pixels, and the graphs, or a bundle's."""
    spec = Preprocessing(size=setup["size"])
    paths = photographs(folder / "photographs", image_count)
    pixels = np.stack([read_image(path, spec) for path in paths])
    np.save(folder / "pixels.npy", pixels)
    (folder / "setup.json").write_text(json.dumps(setup))
    if bundle is not None:
        for precision, name in (("fp32", "model.onnx"), ("int8", "int8.onnx")):
            shutil.copyfile(bundle.folder / MODEL_FILES[precision], folder / name)
        return
    encoder = encoder_of(setup["backbone"], setup["size"], setup["reading"])
    write_onnx(encoder, spec, folder / "model.onnx")
    judge = AgreementDrop(folder / "model.onnx", pixels[:32], spec)
    write_int8(folder / "model.onnx", folder / "int8.onnx", spec, pixels[:64], judge, max_drop=100)
    (folder / "fastembed").mkdir()
    write_layout("fastembed", encoder, spec, folder / "fastembed")


def peer_python(folder: Path, packages: Sequence[str]) -> Path:
    """The interpreter of an environment that holds these packages alone, made if need be."""
    environment = folder / "-".join(package.replace("==", "-") for package in packages)
    python = environment / "bin" / "python"
    if not (environment / "ready").exists():
        venv.create(environment, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
        (environment / "ready").touch()
    return python.absolute()


def measure(
    commands: dict[str, list[str]], image_count: int, rounds: int, log: Path
) -> dict[str, dict[str, float]]:
    """Images a second, median ratio to the faster floor, and peak memory; one round uncounted."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    peak: dict[str, float] = {}
    with log.open("w") as errors:
        running = {
            name: subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )
            for name, command in commands.items()
        }
        try:
            for process in running.values():
                _answer(process, log)
            for counted in [False] + [True] * rounds:
                for name, process in running.items():
                    assert process.stdin is not None
                    process.stdin.write("\n")
                    process.stdin.flush()
                    answer = _answer(process, log)
                    peak[name] = answer["peak_mb"]
                    if counted:
                        seconds[name].append(answer["seconds"])
        finally:
            for process in running.values():
                process.kill()
                process.communicate()  # closes its pipes
    floor = min((seconds[name] for name in FLOORS), key=statistics.median)
    ours = seconds[OURS]
    return {
        name: {
            "images_per_s": round(image_count / statistics.median(times), 1),
            "ratio_to_floor": round(
                statistics.median(f / t for f, t in zip(floor, times, strict=True)), 3
            ),
            "ours_is_times_as_fast": round(
                statistics.median(t / o for o, t in zip(ours, times, strict=True)), 3
            ),
            "peak_mb": round(peak[name]),
        }
        for name, times in seconds.items()
    }


def main() -> None:
    """Prints the figures as JSON, and writes them where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backbone", default="torchvision/mobilenet_v2")
    parser.add_argument("--timm", help="its name in timm; timm takes part only with --peers")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--reading", choices=["mean", "calibrated"], default="mean")
    parser.add_argument("--pictures", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compiled", action="store_true", help="also torch.compile")
    parser.add_argument("--peers", type=Path, help="folder for the peers' environments")
    parser.add_argument("--bundle", type=Path, help="one with an int8 file")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    setup = {key: getattr(arguments, key) for key in ("backbone", "size", "reading", "timm")}
    bundle = Bundle.open(arguments.bundle, "int8", every_file=True) if arguments.bundle else None
    if bundle is not None:
        setup = {"bundle": str(bundle.folder), "size": bundle.preprocessing.size}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, setup, arguments.pictures, bundle)
        commands = _commands(arguments, folder)
        result = {
            "machine": f"{platform.machine()}, {platform.platform()}, {core_count()} cores",
            **setup,
            "pictures": arguments.pictures,
            "rounds": arguments.rounds,
            "rivals": measure(commands, arguments.pictures, arguments.rounds, folder / "log"),
        }
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


def _commands(arguments: argparse.Namespace, folder: Path) -> dict[str, list[str]]:
    eager = {} if arguments.bundle else EAGER
    local = RIVALS | eager | (COMPILED if arguments.compiled else {})
    module = ["-m", "benchmarks.peers.embedders"]
    file = [str(Path(__file__).parent / "peers" / "embedders.py")]
    commands = {name: [sys.executable, *module, rival] for name, rival in local.items()}
    if arguments.peers:
        for name, (rival, packages) in PEERS.items():
            if rival != "timm" or arguments.timm:
                commands[name] = [str(peer_python(arguments.peers, packages)), *file, rival]
    return {name: [*line, str(folder), str(core_count())] for name, line in commands.items()}


def _answer(process: "subprocess.Popen[str]", log: Path) -> dict[str, float]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{process.args!r} ended: {log.read_text()[-2000:]}")
    answer: dict[str, float] = json.loads(line)
    return answer


if __name__ == "__main__":
    main()
