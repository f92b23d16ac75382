"""What the product reads of a folder, by the kind of folder, as results that can be compared."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fgembed.errors import FgembedError, IntegrityError

SETTLED_NS = 20_000_000  # the clock's ticks are shorter
Reader = Callable[[Path], object]


def digest(*arrays: Any) -> str:
    running = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(array)
        running.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return running.hexdigest()


def state_digest(module: Any) -> str:
    state = sorted(module.state_dict().items())
    return digest(*(np.frombuffer(name.encode(), np.uint8) for name, _ in state),
                  *(value.numpy() for _, value in state))  # fmt: skip


def index_readers(arguments: dict[str, str]) -> dict[str, Reader]:
    from fgembed.index.format import checksum_cache
    from fgembed.index.search.searcher import Searcher
    from fgembed.index.tools.verify import verify

    checksum_cache.SETTLED_NS = SETTLED_NS
    if arguments["cached"] == "yes":  # as if each file were a large one
        checksum_cache.MIN_CACHED_BYTES = 1
    queries = np.load(arguments["queries"])

    def search(copy: Path) -> object:
        searcher = Searcher.open(copy, arguments["bundle"], "cpu")
        found = [
            searcher.search_vectors(queries, 8),
            searcher.search_vectors(queries, 4, where="size % 2 = 0 and label <> 'none'"),
        ]
        hits = [hit for results in found for hits in results for hit in hits]
        live = digest(searcher.vectors.live_ids())
        return [[hit.id, hit.score, str(hit.path), hit.metadata] for hit in hits], live

    def check(copy: Path) -> object:
        report = verify(copy)
        return report.problems, report.files, report.searched, str(report.manifest)

    return {"search": search, "verify": check}


def bundle_readers(arguments: dict[str, str]) -> dict[str, Reader]:
    from fgembed.bundle import Bundle
    from fgembed.embedding.onnx_embedder import OnnxEmbedder
    from fgembed.model.encoder_files import load_bundle_encoder

    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)

    def build(copy: Path) -> object:
        bundle = Bundle.open(copy, every_file=True)
        return bundle.config.fingerprint, OnnxEmbedder.of(bundle, "cpu").vectors(pixels).tolist()

    def search(copy: Path) -> object:
        bundle = Bundle.open(copy)
        vectors = OnnxEmbedder.of(bundle, "cpu").vectors(pixels)
        return bundle.config.fingerprint, bundle.config.source_run, vectors.tolist()

    def to_torch(copy: Path) -> object:
        encoder, spec = load_bundle_encoder(copy)
        return state_digest(encoder), spec.to_json()

    return {"build": build, "search": search, "torch": to_torch}


def run_readers(arguments: dict[str, str]) -> dict[str, Reader]:
    import torch

    from fgembed.config import read_config
    from fgembed.disk.files import digest as digest_of
    from fgembed.evaluation.protocol import Split
    from fgembed.evaluation.subject import Subject, run_embedders
    from fgembed.export.run_source import Source
    from fgembed.methods.table import method_named
    from fgembed.training.epoch_selection import Selection
    from fgembed.training.preparation import prepare
    from fgembed.training.resuming.checkpoint import load_state, read_position
    from fgembed.training.resuming.fingerprint import check_images, check_settings
    from fgembed.workspace import RunFolder

    gallery, queries, cpu = Path(arguments["gallery"]), Path(arguments["queries"]), "cpu"
    split = Split.find(gallery, queries)

    def export(copy: Path, start: bool = False) -> object:
        source = Source.open(copy, start=start, force=True)
        state, verdict = state_digest(source.encoder), str(source.verdict)
        return source.settings, source.report, source.spec.to_json(), state, verdict

    def evaluate(copy: Path) -> object:
        subject = Subject.find(str(copy), None, gallery, queries)
        embedders = run_embedders(subject.run, torch.device(cpu))
        images = split.queries.paths[:2]
        vectors = [digest(embed(images).vectors) for embed in embedders.values()]
        return vectors, subject.config.model_dump(mode="json")

    def resume(copy: Path) -> object:
        run = RunFolder(copy)
        config = read_config(run.config)
        position = read_position(run)
        assert position is not None, "no checkpoint"
        check_settings(run, config, position.fingerprint)
        try:
            check_images(run, config, {}, position.fingerprint.images)
        except IntegrityError:  # what tells how the images changed is damaged itself
            raise
        except FgembedError as error:
            changed = str(error).replace(str(copy), "run")
        method = prepare(config, method_named(config.method.name)).method
        load_state(run, method, [])
        fingerprint = digest_of(asdict(position.fingerprint))
        selection = Selection(method.encoder, split, config, run, torch.device(cpu), 1, fingerprint)
        state = state_digest(method)
        best = selection.restore()
        return position.step, changed, state, str(best), state_digest(method.encoder)

    return {
        "export": export,
        "export of the start": lambda copy: export(copy, start=True),
        "evaluate": evaluate,
        "resume": resume,
    }


def embeddings_readers(arguments: dict[str, str]) -> dict[str, Reader]:
    from fgembed.index.changes.embeddings_folder import ImportedEmbeddings

    def build(copy: Path) -> object:
        imported = ImportedEmbeddings.open(copy)
        parts = imported.parts()
        rows = [str(item) for part in parts for item in part.items()]
        return imported.plan, [digest(part.vectors()) for part in parts], rows

    return {"build": build}


READERS: Mapping[str, Callable[[dict[str, str]], dict[str, Reader]]] = {
    "index": index_readers, "bundle": bundle_readers, "run": run_readers,
    "embeddings": embeddings_readers,
}  # fmt: skip
