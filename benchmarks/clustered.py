"""Draws unit vectors in clusters within clusters, with the neighbourhoods of real embeddings.

An embedding of look-alike photographs is near a few images of the same thing, less near to more
of its kind, and so on. So is a vector here: it is the sum of a draw for its group of 200, its group
of 50, of 10, of 5, of 2, and one of its own, each with the same falling spectrum. The shares were
chosen so that the scores of the nearest 1, 2, 5, 10, 50 and 200 are those of grocery81 (5,125
images, default recipe, PCA to 256): 0.80, 0.73, 0.63, 0.56, 0.34, 0.15. This command compares:

    python -m benchmarks.clustered --like embeddings/
    python -m benchmarks.clustered --out vectors/ --count 1000000
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

GROUPS = (400, 80, 20, 8, 4, 2, 1)  # members that share a draw
SHARES = (0.14, 0.19, 0.21, 0.08, 0.09, 0.09, 0.20)  # of the squared length
CHUNK = 50_000
RANKS = (1, 2, 5, 10, 50, 200)


def clustered(count: int, dimensions: int = 256, seed: int = 0) -> Iterator[np.ndarray]:
    """`count` vectors (B, D) float32 of unit length, at most 50,000 at a time."""
    spectrum = 1 / (1 + np.arange(dimensions) / 20)
    scale = np.sqrt(spectrum / spectrum.sum()).astype(np.float32)
    generator = np.random.default_rng(seed)
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        vectors = np.zeros((size, dimensions), np.float32)
        for members, share in zip(GROUPS, SHARES, strict=True):
            groups = -(-size // members)
            draws = generator.standard_normal((groups, dimensions), np.float32)
            vectors += np.float32(share**0.5) * np.repeat(draws * scale, members, axis=0)[:size]
        yield vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def split(chunk: np.ndarray, held_out: int) -> tuple[np.ndarray, np.ndarray]:
    """A chunk without some evenly spread rows, and those rows, as queries."""
    taken = np.zeros(len(chunk), bool)
    taken[np.linspace(0, len(chunk) - 1, held_out).astype(int)] = True
    return chunk[~taken], chunk[taken]


def write(folder: Path, count: int, queries: int, dimensions: int) -> None:
    """`img_emb/*.npy`, as clip-retrieval names them, and `queries.npy` that are in none."""
    (folder / "img_emb").mkdir(parents=True, exist_ok=True)
    chunks = -(-count // CHUNK)
    per_chunk = -(-queries // chunks)
    query_parts = []
    for number, chunk in enumerate(clustered(count + per_chunk * chunks, dimensions)):
        rows, queries_part = split(chunk, per_chunk if number < chunks else 0)
        np.save(folder / "img_emb" / f"img_emb_{number:04}.npy", rows)
        query_parts.append(queries_part)
    np.save(folder / "queries.npy", np.concatenate(query_parts)[:queries])


def scores_by_rank(vectors: np.ndarray) -> list[float]:
    """The mean cosine of a vector with its neighbour of each rank."""
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -2)
    ranked = -np.sort(-scores, axis=1)
    return [round(float(ranked[:, rank - 1].mean()), 3) for rank in RANKS]


def reduced(vectors: np.ndarray, dimensions: int) -> np.ndarray:
    """The first principal components, of unit length."""
    centred = vectors - vectors.mean(axis=0)
    components = np.linalg.svd(centred, full_matrices=False)[2][:dimensions]
    projected = centred @ components.T
    return np.asarray(projected / np.linalg.norm(projected, axis=1, keepdims=True), np.float32)


def main() -> None:
    """Writes vectors, or compares neighbourhoods with those of a folder of embeddings."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--like", type=Path)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--dimensions", type=int, default=256)
    arguments = parser.parse_args()
    if arguments.like:
        parts = sorted((arguments.like / "img_emb").glob("*.npy"))
        real = reduced(np.concatenate([np.load(part) for part in parts]), arguments.dimensions)
        drawn = np.concatenate(list(clustered(len(real), arguments.dimensions)))
        print("rank  " + "".join(f"{rank:>8}" for rank in RANKS))
        for name, vectors in (("real", real), ("drawn", drawn)):
            print(f"{name:6}" + "".join(f"{score:8.3f}" for score in scores_by_rank(vectors)))
    if arguments.out:
        write(arguments.out, arguments.count, arguments.queries, arguments.dimensions)


if __name__ == "__main__":
    main()
