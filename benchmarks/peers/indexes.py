"""What benchmarks/index.py runs, one rival a process, each in its own environment.

    python benchmarks/peers/indexes.py NAME build SOURCE OUT MEMORY
    python benchmarks/peers/indexes.py NAME search SOURCE OUT

Prints one line of JSON. SOURCE holds img_emb/*.npy, queries.npy and exact.npy, the positions of
each query's ten nearest. Nothing is imported but numpy and what the rival needs.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

K = 10
THREADS = 2
SINGLE = 200
Search = Callable[[np.ndarray], np.ndarray]


def parts(source: Path) -> list[Path]:
    """The files of vectors, in order."""
    return sorted((source / "img_emb").glob("*.npy"))


class Fgembed:
    """`fgembed index build --from-embeddings`, and its search."""

    def build(self, source: Path, out: Path, memory: int) -> None:
        """As the command does it."""
        from fgembed.index.changes.embeddings_folder import ImportedEmbeddings
        from fgembed.index.changes.from_embeddings import build_from_embeddings
        from fgembed.index.segments.segment_builder import IndexSettings

        embeddings = ImportedEmbeddings.open(source)
        build_from_embeddings(embeddings, None, out, settings=IndexSettings(memory_bytes=memory))

    def open(self, out: Path) -> None:
        """With its checksums."""
        from fgembed.index.search.snapshot import open_vectors

        self.vectors = open_vectors(out)

    def settings(self) -> Iterator[tuple[str, Search]]:
        """As tuned, and more and fewer lists."""
        main = self.vectors.manifest.main
        yield f"{main.factory or 'flat'} as tuned {main.parameters}", self._search({})
        for nprobe in (64, 128, 256, 512) if main.factory else ():
            yield f"nprobe {nprobe}", self._search({"nprobe": nprobe})

    def _search(self, parameters: dict[str, int]) -> Search:
        return lambda queries: self.vectors.search(queries, K, parameters=parameters)[1]


class Autofaiss:
    """autofaiss with its own choice, for an index of at most 60 % of the memory."""

    def build(self, source: Path, out: Path, memory: int) -> None:
        """It refuses an index as large as the memory that is free."""
        from autofaiss import build_index

        out.mkdir()
        build_index(
            str(source / "img_emb"), index_path=str(out / "knn.index"),
            index_infos_path=str(out / "infos.json"), metric_type="ip", verbose=40,
            max_index_memory_usage=f"{int(0.6 * memory)}B",
            current_memory_available=f"{memory}B", max_index_query_time_ms=3, nb_cores=THREADS,
        )  # fmt: skip

    def open(self, out: Path) -> None:
        """By plain FAISS."""
        import faiss

        self.faiss = faiss
        self.index = faiss.read_index(str(out / "knn.index"))
        self.infos = json.loads((out / "infos.json").read_text())

    def settings(self) -> Iterator[tuple[str, Search]]:
        """Its own, and others of the kind it takes."""
        key, parameters = self.infos["index_key"], self.infos["index_param"]
        space = self.faiss.ParameterSpace()
        variants = [f"efSearch={n}" for n in (32, 64, 96, 128, 192, 256)] if "HNSW" in key else []
        for text in [parameters, *variants]:
            space.set_index_parameters(self.index, text)
            name = f"{key} as tuned {text}" if text == parameters else text
            yield name, lambda queries: self.index.search(queries, K)[1]


class Usearch:
    """usearch with half floats."""

    def build(self, source: Path, out: Path, memory: int) -> None:
        """Defaults but for the type."""
        from usearch.index import Index

        out.mkdir()
        dimensions = np.load(parts(source)[0], mmap_mode="r").shape[1]
        index, start = Index(ndim=dimensions, metric="ip", dtype="f16"), 0
        for file in parts(source):
            rows = np.load(file)
            index.add(np.arange(start, start + len(rows)), rows, threads=THREADS)
            start += len(rows)
        index.save(str(out / "index.usearch"))

    def open(self, out: Path) -> None:
        """Mapped."""
        from usearch.index import Index

        self.index = Index.restore(str(out / "index.usearch"), view=True)

    def settings(self) -> Iterator[tuple[str, Search]]:
        """By the width of the search."""
        for width in (32, 64, 128, 256):
            self.index.expansion_search = width

            def search(queries: np.ndarray) -> np.ndarray:
                matches = self.index.search(queries, K, threads=THREADS if len(queries) > 1 else 1)
                return np.asarray(matches.keys, np.int64).reshape(len(queries), K)

            yield f"expansion {width}", search


class BareFaiss:
    """FAISS by hand: lists with whole vectors."""

    def build(self, source: Path, out: Path, memory: int) -> None:
        """Trained on as many vectors as FAISS wants."""
        import faiss

        out.mkdir()
        files = parts(source)
        total = sum(len(np.load(file, mmap_mode="r")) for file in files)
        lists = round(4 * total**0.5)
        dimensions = np.load(files[0], mmap_mode="r").shape[1]
        index = faiss.index_factory(dimensions, f"IVF{lists},Flat", faiss.METRIC_INNER_PRODUCT)
        per_file = -(-39 * lists // len(files))
        rows = [np.load(file, mmap_mode="r") for file in files]
        index.train(np.concatenate([part[:: max(1, len(part) // per_file)] for part in rows]))
        for file in files:
            index.add(np.load(file))
        faiss.write_index(index, str(out / "knn.index"))

    def open(self, out: Path) -> None:
        """Into memory."""
        import faiss

        self.index = faiss.read_index(str(out / "knn.index"))

    def settings(self) -> Iterator[tuple[str, Search]]:
        """By lists visited."""
        for nprobe in (32, 64, 128, 256):
            self.index.nprobe = nprobe
            yield f"nprobe {nprobe}", lambda queries: self.index.search(queries, K)[1]


class Numpy:
    """A matrix product and a partial sort."""

    def build(self, source: Path, out: Path, memory: int) -> None:
        """One array."""
        out.mkdir()
        np.save(out / "all.npy", np.concatenate([np.load(file) for file in parts(source)]))

    def open(self, out: Path) -> None:
        """Into memory."""
        self.rows = np.load(out / "all.npy")

    def settings(self) -> Iterator[tuple[str, Search]]:
        """There are none."""

        def search(queries: np.ndarray) -> np.ndarray:
            neighbours = []
            for start in range(0, len(queries), 50):
                scores = queries[start : start + 50] @ self.rows.T
                best = np.argpartition(-scores, K, axis=1)[:, :K]
                neighbours.append(best)
            return np.concatenate(neighbours)

        yield "exact", search


RIVALS: dict[str, Any] = {
    "fgembed": Fgembed, "autofaiss": Autofaiss, "usearch": Usearch, "FAISS IVF,Flat": BareFaiss,
    "numpy": Numpy,
}  # fmt: skip


def build(rival: Any, source: Path, out: Path, memory: int) -> dict[str, Any]:
    """Seconds, the most memory that the process had, and bytes a vector on disk."""
    started = time.perf_counter()
    rival.build(source, out, memory)
    seconds = time.perf_counter() - started
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    count = sum(len(np.load(file, mmap_mode="r")) for file in parts(source))
    return {"build_s": seconds, "peak_bytes": peak, "bytes_a_vector": size / count}


def search(rival: Any, source: Path, out: Path) -> list[dict[str, Any]]:
    """Of each setting recall@10, queries a second in one batch, and one query's median."""
    queries, exact = np.load(source / "queries.npy"), np.load(source / "exact.npy")
    rival.open(out)
    measured = []
    for name, ask in rival.settings():
        slow = name == "exact" and len(queries) > 200
        batch, truth = (queries[:200], exact[:200]) if slow else (queries, exact)
        ask(batch[:20] if slow else batch)  # mapped pages are read, threads are there
        started = time.perf_counter()
        neighbours = ask(batch)
        rate = len(batch) / (time.perf_counter() - started)
        pairs = zip(neighbours, truth, strict=True)
        recall = np.mean([len(np.intersect1d(a, b)) / K for a, b in pairs])
        times = []
        for query in batch[: 20 if slow else SINGLE]:
            started = time.perf_counter()
            ask(query[None])
            times.append(time.perf_counter() - started)
        measured.append(
            {"setting": name, "recall@10": float(recall), "queries_a_second": rate,
             "p50_ms": 1000 * float(np.median(times))}
        )  # fmt: skip
    return measured


def main() -> None:
    """Builds or searches."""
    name, step, source, out, *rest = sys.argv[1:]
    rival = RIVALS[name]()
    if step == "build":
        result: Any = build(rival, Path(source), Path(out), int(rest[0]))
    else:
        result = search(rival, Path(source), Path(out))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
