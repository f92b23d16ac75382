"""Opens damaged copies of a folder, one after the other, and prints what each reader made of them.

Run as a process of its own, `python -m tests.end_to_end.damaged_copies SPEC`, so that a crash or a
hang of a library ends it and no test run. A line of JSON for each copy: what was damaged and how,
and for each reader `refused`, `equal`, `other` (results that a sound copy does not give) or the
error that is not ours.
"""

import faulthandler
import hashlib
import json
import random
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from itertools import cycle, product
from pathlib import Path
from typing import Any

import numpy as np

from fgembed.errors import FgembedError, IntegrityError

HANG_S = 120
NEED_NOT_BE = "state/checkpoint.safetensors"  # without it a run trains again from the start
SETTLED_NS = 20_000_000  # the clock's ticks are shorter
Reader = Callable[[Path], object]


@dataclass(frozen=True)
class Spec:
    """What is damaged.

    Attributes:
        subject: a key of `READERS`.
        folder: the sound one.
        other: another sound one of the same kind, whose files are swapped in.
        untrusted: patterns of the files whose damage may go unnoticed if it changes no result.
        arguments: of the readers.
        count: of damaged copies.
        seed: of the damage.
        work: an empty folder.
    """

    subject: str
    folder: str
    other: str
    untrusted: list[str]
    arguments: dict[str, str]
    count: int
    seed: int
    work: str

    def is_untrusted(self, name: str) -> bool:
        return any(fnmatch(name, pattern) for pattern in self.untrusted)


def flipped(data: bytes, draw: random.Random) -> bytes:
    """One to eight bits, anywhere."""
    changed = bytearray(data)
    for _ in range(draw.randint(1, 8)):
        changed[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def one_bit(data: bytes, draw: random.Random) -> bytes:
    changed = bytearray(data)
    changed[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def cut(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.choice([0, len(data) - 1, draw.randrange(len(data))])]


def zeroed(data: bytes, draw: random.Random) -> bytes:
    start, length = draw.randrange(len(data)), draw.choice([1, 16, 512, 4096, len(data)])
    return data[:start] + bytes(len(data[start : start + length])) + data[start + length :]


def appended(data: bytes, draw: random.Random) -> bytes:
    return data + draw.choice([b"\0", b"\n", b"{}\n", draw.randbytes(draw.randint(1, 600))])


DAMAGES: Mapping[str, Callable[[bytes, random.Random], bytes]] = {
    "flipped": flipped, "one bit": one_bit, "cut": cut, "zeroed": zeroed, "appended": appended,
}  # fmt: skip


def files_of(folder: Path) -> list[str]:
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in names if not name.endswith(".lock"))


def damage(copy: Path, spec: Spec, name: str, how: str, draw: random.Random) -> bool:
    """Damages a file of the copy, in place; gives whether anything changed."""
    file = copy / name
    data = file.read_bytes()
    if how == "missing":
        file.unlink()
        return True
    if how == "swapped":
        partners = [Path(spec.other) / name] if (Path(spec.other) / name).is_file() else []
        partners += [
            copy / other
            for other in files_of(copy)
            if other != name and Path(other).suffix == file.suffix
        ]
        contents = [partner.read_bytes() for partner in partners]
        differing = [i for i, content in enumerate(contents) if content != data]
        if not differing:
            return False
        chosen = draw.choice(differing)
        if partners[chosen].is_relative_to(copy):
            partners[chosen].write_bytes(data)
        file.write_bytes(contents[chosen])
        return True
    changed = DAMAGES[how](data, draw) if data else b"\0"
    file.write_bytes(changed)
    return changed != data


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


def outcome(read: Reader, copy: Path, sound: object) -> str:
    try:
        result = read(copy)
    except FgembedError as error:
        return f"refused: {error}" if "\n" not in str(error) else f"two lines: {error}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return "equal" if plain(result) == sound else "other"


def plain(result: object) -> str:
    return json.dumps(result, default=str)


def copies(spec: Spec) -> Iterator[dict[str, Any]]:
    """Damages and opens the copies."""
    draw = random.Random(spec.seed)
    readers = READERS[spec.subject](spec.arguments)
    copy = Path(spec.work) / "copy"

    def fresh() -> None:
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(spec.folder, copy)

    fresh()
    sound = {name: plain(read(copy)) for name, read in readers.items()}
    names = files_of(Path(spec.folder)) + ([".proved.json"] if "cached" in spec.arguments else [])
    names = list(dict.fromkeys(names))
    cases = list(product(names, [*DAMAGES, "swapped", "missing"]))
    draw.shuffle(cases)
    done = 0
    for name, how in cycle(cases):
        if done == spec.count:
            return
        faulthandler.dump_traceback_later(HANG_S, exit=True)
        fresh()
        if spec.arguments.get("cached") == "yes":
            time.sleep(1.5 * SETTLED_NS / 1e9)
            assert plain(readers["search"](copy)) == sound["search"]
        if how == "missing" and fnmatch(name, NEED_NOT_BE):
            continue
        if not (copy / name).is_file() or not damage(copy, spec, name, how, draw):
            continue
        yield {"file": name, "damage": how, "untrusted": spec.is_untrusted(name)} | {
            "outcomes": {reader: outcome(read, copy, sound[reader])
                         for reader, read in readers.items()}
        }  # fmt: skip
        done += 1


def main() -> None:
    """Reads the spec from a file and prints a line for each copy, and one for the memory."""
    spec = Spec(**json.loads(Path(sys.argv[1]).read_text()))
    before = 0
    for number, case in enumerate(copies(spec)):
        sys.stdout.write(json.dumps({"copy": number} | case) + "\n")
        sys.stdout.flush()
        if number == 5:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sys.stdout.write(json.dumps({"grown_kib": peak - before}) + "\n")


if __name__ == "__main__":
    main()
