"""What is read as an image: a file, or a part of a tar file. Nothing here lists them."""

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fgembed.errors import ImageError
from fgembed.images.limits import raise_if_out_of_files


@dataclass(frozen=True)
class TarMember:
    """An image inside an uncompressed tar file: `size` bytes at `offset`."""

    tar: Path
    name: str
    offset: int
    size: int

    def __str__(self) -> str:
        return str(self.tar / self.name)

    def open(self) -> BinaryIO:
        """The bytes of the image as a stream; thread-safe.

        Raises:
            ImageError: the tar file has become shorter, or cannot be read.
        """
        try:
            with self.tar.open("rb") as file:
                content = os.pread(file.fileno(), self.size, self.offset)
        except OSError as error:
            raise_if_out_of_files(error)
            raise ImageError(str(self), error.strerror or "cannot be read") from None
        if len(content) < self.size:
            raise ImageError(str(self), f"{self.tar} ends before it")
        return io.BytesIO(content)


ImageFile = Path | TarMember
