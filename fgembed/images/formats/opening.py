"""Opens an image with the decoder of its format; its pixels are decoded when they are needed.

The classes of Pillow's plugins are called, not `Image.open`: that checks sizes against a limit that
belongs to the whole process and its other users. `fgembed.images.limits` has the limits here.
Decoders are imported when a file needs them, so that a search starts fast.
"""

from typing import BinaryIO

from PIL import Image

from fgembed.images.formats import heif, jpeg_xl, raw, webp
from fgembed.images.limits import RefusedError

MAX_SCANS = 200  # of a progressive JPEG; encoders write about ten
BYTES_A_CHANCE = 1 << 14  # two bytes that look like a scan are by chance in four times as many


def opened(kind: str, stream: BinaryIO, at_least: int | None, *, checked: bool) -> Image.Image:
    """The image, of which the first frame or the main picture will be decoded.

    Args:
        kind: see `signatures.kind_of`.
        stream: the file's content, from its start.
        at_least: a camera raw's preview is taken if both sides have at least this many pixels.
        checked: refuse layouts of TIFF that would be read as another picture.

    Raises:
        RefusedError: the extra that reads this format is missing, or the layout is refused.
        Exception: whatever the decoder raises for a damaged file.
    """
    stream.seek(0)
    if kind == "RAW":
        return raw.opened(stream, at_least)
    if kind == "JXL":
        return jpeg_xl.opened(stream)
    if kind == "HEIF":
        return heif.opened(stream)
    if kind == "TIFF":
        from fgembed.images.formats.tiff_layouts import TiffFile, check_layout

        image = TiffFile(stream)
        if checked:
            check_layout(image)
        return image
    return _by_pillow(kind, stream)


def check_scans(stream: BinaryIO) -> None:
    """Refuses a progressive JPEG of so many scans that it would be decoded for hours.

    Raises:
        RefusedError: there are more than any encoder writes.
    """
    place = stream.tell()
    stream.seek(0)
    content = stream.read()
    stream.seek(place)
    scans = content.count(b"\xff\xda")
    if scans > MAX_SCANS + len(content) // BYTES_A_CHANCE:
        raise RefusedError(f"damaged JPEG: {scans} scans, expected at most {MAX_SCANS}")


def _by_pillow(kind: str, stream: BinaryIO) -> Image.Image:
    if kind == "JPEG":  # also the first picture of a camera's MPO
        from PIL.JpegImagePlugin import JpegImageFile

        image = JpegImageFile(stream)
        if image.info.get("progressive"):
            check_scans(stream)
        return image
    if kind == "PNG":
        from PIL.PngImagePlugin import PngImageFile

        return PngImageFile(stream)
    if kind == "WEBP":
        return webp.opened(stream)
    if kind == "AVIF":
        from PIL.AvifImagePlugin import AvifImageFile

        return AvifImageFile(stream)
    if kind == "GIF":
        from PIL.GifImagePlugin import GifImageFile

        return GifImageFile(stream)
    from PIL.BmpImagePlugin import BmpImageFile

    return BmpImageFile(stream)
