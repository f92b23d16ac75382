"""The images inside uncompressed tar files, read in place."""

import os
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from fgembed.errors import FgembedError
from fgembed.images.image_file import TarMember
from fgembed.images.kinds.clutter import file_label, path_label
from fgembed.images.kinds.extensions import extension, not_read, unread_reason
from fgembed.images.kinds.formats import EXTENSIONS, NO_IMAGE
from fgembed.images.kinds.passed_over import PassedOver
from fgembed.images.kinds.signatures import HEAD_BYTES, format_of, is_read
from fgembed.images.skipped import Skipped

MAX_MEMBER_BYTES = 1 << 28


@dataclass
class TarScan:
    """What tar files hold, as `fgembed.images.finding.Scan` of a folder."""

    members: list[TarMember] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    passed_over: PassedOver = field(default_factory=PassedOver)


def scan_tar(tar: Path, include_clutter: bool = False) -> TarScan:
    """Every image of a tar file, the pictures that cannot be read, and how many are clutter.

    Raises:
        FgembedError: it is no uncompressed tar file, or is damaged.
    """
    scanned = TarScan()
    try:
        with tarfile.open(tar, "r:") as archive, tar.open("rb") as file:
            for member in archive:
                if not member.isdir():
                    _add(scanned, tar, member, file, include_clutter)
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise FgembedError(
            f"{tar} cannot be read as an uncompressed tar file: {error}",
            f'make it again with "tar -cf {tar.name} FOLDER", or unpack it and give the folder',
        ) from None
    return scanned


def _add(
    scanned: TarScan, tar: Path, member: tarfile.TarInfo, file: BinaryIO, include_clutter: bool
) -> None:
    if not include_clutter:
        name = member.name.rpartition("/")[2]
        clutter = path_label(member.name.split("/"))
        if clutter is not None and (extension(name) in EXTENSIONS or file_label(name)):
            scanned.passed_over.counts[clutter] += 1
        if clutter is not None or name.startswith("."):
            return
    reason = _unread_reason(member, file)
    if reason is None:
        scanned.members.append(TarMember(tar, member.name, member.offset_data, member.size))
    elif reason:
        scanned.skipped.append(Skipped(tar / member.name, reason, is_bad=False))


def _unread_reason(member: tarfile.TarInfo, file: BinaryIO) -> str | None:
    """Why a member is no image that is read: None if it is one, "" if it is no picture at all."""
    ending = extension(member.name)
    reason = unread_reason(member.name)
    if reason is not None:
        return reason
    if ending not in EXTENSIONS:
        if ending in NO_IMAGE or not member.isreg() or member.issparse():
            return ""
        head = os.pread(file.fileno(), min(HEAD_BYTES, member.size), member.offset_data)
        format_ = format_of(head)
        if not is_read(format_):
            return "" if format_ is None else not_read(format_)
    if not member.isreg() or member.issparse():
        kinds = ("a sparse file", member.issparse()), ("a link", member.issym() or member.islnk())
        kind = next((name for name, is_kind in kinds if is_kind), "no plain file")
        return f"{kind} in a tar file is not read; unpack {member.name} and give the folder"
    if member.size > MAX_MEMBER_BYTES:
        return (
            f"{member.size:,} bytes in a tar file, at most {MAX_MEMBER_BYTES:,} are read; unpack "
            "it and give the folder"
        )
    return None
