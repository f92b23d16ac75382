"""What other tools make of our exports: the cosine of their vectors with fgembed's own.

fastembed opens a folder of `export --layout fastembed`; transformers' AutoImageProcessor reads the
images for that graph, and for a bundle's. Each in an environment of its own, made with pip.

    python -m benchmarks.peers.readers --bundle B --fastembed F --images DIR --peers build/peers
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime

from benchmarks.embed import peer_python
from fgembed.bundle import Bundle
from fgembed.embedding.array_types import Vectors
from fgembed.embedding.onnx_embedder import OnnxEmbedder
from fgembed.images.finding import find_images

FASTEMBED = ["fastembed==0.9.1"]
TRANSFORMERS = ["transformers==5.23.0", "torch==2.15.0", "torchvision==0.29.2"]
BY_FASTEMBED = """
import sys
import numpy as np
from fastembed import ImageEmbedding
folder, out, *paths = sys.argv[1:]
model = ImageEmbedding("Qdrant/resnet50-onnx", specific_model_path=folder)
np.save(out, np.stack(list(model.embed(paths))))
"""
BY_TRANSFORMERS = """
import sys
import numpy as np
from PIL import Image
from transformers import AutoImageProcessor
folder, out, *paths = sys.argv[1:]
images = [Image.open(path).convert("RGB") for path in paths]
processor = AutoImageProcessor.from_pretrained(folder)
np.save(out, processor(images, return_tensors="np")["pixel_values"])
"""


def read_by(python: Path, script: str, folder: Path, paths: list[Path]) -> Vectors:
    """What the script writes of the images."""
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "out.npy"
        subprocess.run([python, "-c", script, folder, out, *paths], check=True)
        vectors: Vectors = np.load(out)
    return vectors


def main() -> None:
    """Prints the least and the mean cosine of each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--fastembed", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--count", type=int, default=200)
    arguments = parser.parse_args()
    paths = find_images(arguments.images)[0][: arguments.count]
    ours = OnnxEmbedder.of(Bundle.open(arguments.bundle), "cpu", bulk=True)
    expected = ours(paths).vectors
    fastembed = peer_python(arguments.peers, FASTEMBED)
    transformers = peer_python(arguments.peers, TRANSFORMERS)
    graph = onnxruntime.InferenceSession(arguments.fastembed / "model.onnx")
    normalised = read_by(transformers, BY_TRANSFORMERS, arguments.fastembed, paths)
    plain = read_by(transformers, BY_TRANSFORMERS, arguments.bundle, paths)
    by_reader = {
        "fastembed": read_by(fastembed, BY_FASTEMBED, arguments.fastembed, paths),
        "transformers, layout fastembed": graph.run(["embedding"], {"image": normalised})[0],
        "transformers, bundle": ours.in_batches(np.ascontiguousarray(plain.transpose(0, 2, 3, 1))),
    }
    for name, vectors in by_reader.items():
        cosines = (expected * vectors).sum(axis=1)
        print(f"{name:32} least {cosines.min():.7f}  mean {cosines.mean():.7f}")


if __name__ == "__main__":
    main()
