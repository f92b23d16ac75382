"""Builds and searches an index of drawn vectors beside its peers, in one run, with a plot.

The vectors are clusters in clusters with the neighbourhoods of real embeddings
(benchmarks/clustered.py); queries are held out. Every rival has the same memory to build in, two
threads, and a process of its own, in an environment of its own where it is another project's.
Searches take turns, several rounds; figures are medians over rounds. A rival is compared at its
fastest setting that reaches the recall.

    python -m benchmarks.index --count 1000000 --peers build/peers --out index1m

Source of the peers: autofaiss 2.18.0, usearch 2.26.6 (PyPI).
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import clustered
from fgembed.index.segments.vector_file import VectorFile

RECALL_TARGET = 0.95
PEERS = {  # autofaiss needs an older numpy than today's pyarrow has
    "autofaiss": ["autofaiss==2.18.0", "pyarrow<19"],
    "usearch": ["usearch==2.26.6"],
}
OURS = "fgembed"
SCRIPT = Path(__file__).parent / "peers" / "indexes.py"


def prepare(source: Path, count: int, queries: int, dimensions: int) -> None:
    """Draws the vectors and finds every query's exact neighbours."""
    if (source / "exact.npy").is_file():
        return
    clustered.write(source, count, queries, dimensions)
    files = sorted((source / "img_emb").glob("*.npy"))
    rows = np.concatenate([np.load(file) for file in files])
    np.save(source / "exact.npy", VectorFile(rows).exact(np.load(source / "queries.npy"), 10)[1])


def interpreter(peers: Path | None, name: str) -> str | None:
    """The Python that a rival runs on, made with pip where it is a peer's."""
    if name not in PEERS:
        return sys.executable
    if peers is None:
        return None
    folder = peers / f"index-{name}"
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *PEERS[name]], check=True)
    return str(python)


class Failed(Exception):
    """A rival did not do its step, or not in time."""


def run(python: str, *arguments: str, limit_s: float | None = None) -> Any:
    """One step of a rival, on two threads."""
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    try:
        done = subprocess.run(
            [python, str(SCRIPT), *arguments], capture_output=True, text=True, env=environment,
            check=False, timeout=limit_s,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Failed(f"not done within {limit_s:.0f} s") from None
    if done.returncode:
        raise Failed(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def medians(rounds: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Each setting's figures over the rounds."""
    return [
        {
            name: same[0][name] if name == "setting" else statistics.median(s[name] for s in same)
            for name in same[0]
        }
        for same in zip(*rounds, strict=True)
    ]


def fastest(settings: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The setting with the most queries a second that reaches the recall."""
    good = [setting for setting in settings if setting["recall@10"] >= RECALL_TARGET]
    return max(good, key=lambda setting: setting["queries_a_second"], default=None)


def plot(file: Path, results: dict[str, Any]) -> None:
    """Recall against queries a second, of every setting."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    for name, result in results.items():
        points = sorted(result["settings"], key=lambda point: point["recall@10"])
        axes.plot(
            [p["recall@10"] for p in points], [p["queries_a_second"] for p in points],
            marker="o", label=name,
        )  # fmt: skip
    axes.set(xlabel="recall@10", ylabel="queries a second, one batch", yscale="log")
    axes.axvline(RECALL_TARGET, color="grey", linestyle=":")
    axes.legend(fontsize="small")
    figure.savefig(file, dpi=130)


def main() -> None:
    """Builds once each, searches in rounds, prints a table and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, default=256)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--memory", type=int, default=2_000_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=float, default=1800, help="Seconds for a build.")
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--only", nargs="*", help="These rivals alone.")
    parser.add_argument("--work", type=Path, default=Path("build/index-benchmark"))
    parser.add_argument("--out", type=Path, required=True, help="Without suffix: .json and .png")
    arguments = parser.parse_args()
    source = arguments.work / f"{arguments.count}"
    prepare(source, arguments.count, arguments.queries, arguments.dimensions)
    names = ["fgembed", "autofaiss", "usearch", "FAISS IVF,Flat", "numpy"]
    pythons = {
        name: python
        for name in names
        if (not arguments.only or name in arguments.only)
        and (python := interpreter(arguments.peers, name))
    }
    results: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for name, python in pythons.items():
        folder = arguments.work / f"{arguments.count}-{name.replace(' ', '-')}"
        shutil.rmtree(folder, ignore_errors=True)
        step = (name, "build", str(source), str(folder), str(arguments.memory))
        try:
            results[name] = run(python, *step, limit_s=arguments.limit)
            print(name, results[name], file=sys.stderr, flush=True)
        except Failed as error:
            failed[name] = str(error)
            print(f"{name} was not built: {error}", flush=True)
    rounds: dict[str, list[Any]] = {name: [] for name in results}
    for _ in range(arguments.rounds):
        for name in results:
            python = pythons[name]
            folder = arguments.work / f"{arguments.count}-{name.replace(' ', '-')}"
            rounds[name].append(run(python, name, "search", str(source), str(folder)))
    for name, several in rounds.items():
        results[name]["settings"] = medians(several)
    machine = f"{platform.machine()}, {platform.platform()}, {os.cpu_count()} cores"
    report = {"machine": machine, "count": arguments.count, "dimensions": arguments.dimensions,
              "memory": arguments.memory, "rivals": results, "not built": failed}  # fmt: skip
    arguments.out.with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n")
    plot(arguments.out.with_suffix(".png"), results)
    show(machine, results)


def show(machine: str, results: dict[str, Any]) -> None:
    """The table, each rival at its fastest setting that reaches the recall."""
    print(machine)
    print("| | build s | peak MB | bytes a vector | setting | recall@10 | queries/s | one, ms |")
    print("|---|---|---|---|---|---|---|---|")
    for name, result in results.items():
        best = fastest(result["settings"])
        if best is None:
            best = max(result["settings"], key=lambda setting: setting["recall@10"])
        print(
            f"| {name} | {result['build_s']:.0f} | {result['peak_bytes'] / 1e6:.0f} | "
            f"{result['bytes_a_vector']:.0f} | {best['setting']} | {best['recall@10']:.3f} | "
            f"{best['queries_a_second']:.0f} | {best['p50_ms']:.2f} |"
        )
    ours = fastest(results[OURS]["settings"]) if OURS in results else None
    for name, result in results.items():
        other = fastest(result["settings"])
        if name != OURS and ours and other:
            print(
                f"beside {name}: {ours['queries_a_second'] / other['queries_a_second']:.2f} x its "
                f"queries a second, {result['build_s'] / results[OURS]['build_s']:.2f} x faster "
                "built"
            )


if __name__ == "__main__":
    main()
