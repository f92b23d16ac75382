"""Ways to damage the files of a copied folder."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path


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
