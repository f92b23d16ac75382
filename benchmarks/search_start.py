"""How long one `fgembed search` takes from nothing, against the least script that could do it.

The script imports Pillow, numpy, ONNX Runtime and faiss, and does the same work: open the model,
embed the query, open the index, search, print. Both run as whole processes, in turn, in one run.

    python benchmarks/search_start.py --index gallery.index --query query.jpg

prints both medians and their ratio, and with --out also writes them as JSON. Both processes may
keep compiled bytecode, as an installed program does: PYTHONDONTWRITEBYTECODE is dropped, with
which each start compiles fgembed's source again (0.04 s).
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

from fgembed.bundle import Bundle
from fgembed.index.format.manifest import Manifest

SCRIPT = """
import sys
import faiss, numpy as np, onnxruntime
from PIL import Image
model, index, query, size = sys.argv[1:]
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
pixels = np.asarray(Image.open(query).convert("RGB").resize((int(size), int(size)), 2))
vector = session.run(["embedding"], {"image": pixels[None]})[0]
rows = np.load(index)
flat = faiss.IndexFlatIP(rows.shape[1])
flat.add(rows)
scores, ids = flat.search(vector, 10)
print(*zip(scores[0], ids[0]), sep="\\n")
"""


def seconds(command: list[str]) -> float:
    """Wall time of one process."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - started


def main() -> None:
    """Measures in turn, so that a busy machine slows both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--index", type=Path, default=Path("gallery.index"))
    parser.add_argument("--query", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=21)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    manifest = Manifest.read(arguments.index)
    if manifest.model is None:
        parser.error(f"{arguments.index} was made of embeddings without a model")
    bundle = Bundle.open(arguments.index / manifest.model.bundle)
    vectors = arguments.index / manifest.segments[0].name / "vectors.npy"
    size = str(bundle.preprocessing.size)
    script = [sys.executable, "-c", SCRIPT, bundle.model, vectors, arguments.query, size]
    tool = str(Path(sys.executable).with_name("fgembed"))
    search = [tool, "search", arguments.query, "--index", arguments.index]
    pairs = [
        (seconds(list(map(str, script))), seconds(list(map(str, search))))
        for _ in range(arguments.runs + 2)
    ][2:]
    floor, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(second / first for first, second in pairs)
    result = {
        "machine": f"{platform.machine()}, {platform.processor() or platform.platform()}",
        "pictures": manifest.count,
        "runs": arguments.runs,
        "script_s": round(floor, 4),
        "fgembed_search_s": round(ours, 4),
        "ratio": round(ratio, 3),
    }
    print("\n".join(f"{key:18} {value}" for key, value in result.items()))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
