"""TIFF as Pillow reads it, and refused where Pillow takes one layout for another.

Pillow checks the layout of a page against a table, but not all that is outside the table: planes
of 16-bit samples are taken for planes of 8 bits, 16-bit grey with 0 as white for its negative,
signed bytes for unsigned ones. `SOUND` names what tests/images/test_tiff_layouts.py has compared
with the picture that was written; any other layout is refused.
"""

from typing import Any

from PIL import ImageFile, TiffImagePlugin
from PIL.Image import core  # type: ignore[attr-defined]

from fgembed.images.limits import RefusedError

WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
SAMPLES, PLANES, MAX_VALUE, COLOUR_MAP, SUBFILE = 277, 284, 281, 320, 254
SIGNED_MAX_VALUE = 341
SAMPLE_FORMAT, INK_SET, SUBSAMPLING, EXTRA = 339, 332, 530, 338
UNCOMPRESSED, JPEG = (1,), (6, 7)
# CCITT, LZW, Deflate, PackBits, LZMA, Zstandard, WebP; word-aligned CCITT is read as noise.
COMPRESSIONS = {1, 2, 3, 4, 5, *JPEG, 8, 32773, 32946, 34925, 50000, 50001}
PARTIAL = (255, 1023, 4095, 16383)  # white, of samples that fill their bits in part
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, SEPARATED, YCBCR, CIELAB = 0, 1, 2, 3, 5, 6, 8
MAX_PAGES = 32
UNSIGNED = 1
SAMPLE_FORMATS = {2: "signed", 3: "floating-point", 4: "untyped", 5: "complex", 6: "complex"}
SOUND = {  # photometric: bits per sample
    WHITE_IS_ZERO: (1, 2, 4, 8, 16),
    BLACK_IS_ZERO: (1, 2, 4, 8, 12, 16),
    RGB: (8, 16),
    PALETTE: (1, 2, 4, 8),
    SEPARATED: (8, 16),
    YCBCR: (8,),
    CIELAB: (8,),
}
REMEDY = "save it again with 8 bits a channel"


class TiffFile(TiffImagePlugin.TiffImageFile):
    """The first page that is no thumbnail, with tags completed as libtiff completes them.

    It also checks no number of pixels: `fgembed.images.limits` does.
    """

    def _open(self) -> None:
        super()._open()
        for page in range(1, MAX_PAGES):
            if not self.tag_v2.get(SUBFILE, 0) & 1:
                return
            try:
                self.seek(page)
            except EOFError:
                break
        self.seek(0)  # nothing but thumbnails

    def _setup(self) -> None:
        tags = self.tag_v2
        samples = tags.get(SAMPLES, len(tags.get(BITS, (1,))))
        if PHOTOMETRIC not in tags:
            tags[PHOTOMETRIC] = RGB if samples >= 3 else BLACK_IS_ZERO
        if samples == 1 and tags.get(PLANES) == 2:
            tags[PLANES] = 1  # one plane either way, and Pillow misreads the other
        colours = tags.get(COLOUR_MAP, ())
        if colours and max(colours) < 256:
            tags[COLOUR_MAP] = tuple(257 * value for value in colours)
        is_deep = samples == 1 and max(tags.get(BITS, (1,))) > 8
        self.info["white_is_zero"] = is_deep and tags[PHOTOMETRIC] == WHITE_IS_ZERO
        if self.info["white_is_zero"]:
            tags[PHOTOMETRIC] = BLACK_IS_ZERO  # Pillow knows one byte order, and inverts neither
        try:
            super()._setup()
        except (KeyError, SyntaxError):  # no entry in Pillow's tables
            reason = _misread(tags)
            if reason is None:
                raise
            raise _refusal(reason) from None
        if self.mode.startswith("I"):
            self.info["white"] = full_scale(tags)

    def load_prepare(self) -> None:
        """Makes room for the pixels."""
        if self._im is None:
            self.im = core.new(self.mode, self._tile_size)
        ImageFile.ImageFile.load_prepare(self)


def check_layout(image: TiffImagePlugin.TiffImageFile) -> None:
    """Refuses what would be read as another picture.

    Raises:
        RefusedError: naming the layout and what to do.
    """
    reason = _misread(image.tag_v2)
    if reason is not None:
        raise _refusal(reason)


def _refusal(reason: str) -> RefusedError:
    return RefusedError(f"{reason} in TIFF; {REMEDY}")


def full_scale(tags: Any) -> int:
    """The grey value that is white, of a page in more than 8 bits.

    12-bit samples are not scaled by Pillow; MaxSampleValue tells of samples that fill their bits
    in part.
    """
    bits = max(tags.get(BITS, (1,)))
    largest = _told_maximum(tags)
    return largest if largest in PARTIAL and largest < 1 << bits else (1 << bits) - 1


def _told_maximum(tags: Any) -> int:
    given = _numbers(tags.get(MAX_VALUE, ())) or _numbers(tags.get(SIGNED_MAX_VALUE, ()))
    return max(given, default=0)


def _misread(tags: Any) -> str | None:
    photometric, compression = tags.get(PHOTOMETRIC), tags.get(COMPRESSION, 1)
    bits = set(_numbers(tags.get(BITS, (1,))))
    formats = set(_numbers(tags.get(SAMPLE_FORMAT, (UNSIGNED,))))
    if formats != {UNSIGNED}:
        return f"{SAMPLE_FORMATS.get(max(formats), 'unusual')} pixels are not supported"
    if compression not in COMPRESSIONS:
        return f"compression {compression} is not supported"
    if compression in JPEG:
        return None  # libtiff gives bytes of RGB or grey
    if photometric not in SOUND:
        return f"photometric interpretation {photometric} is not supported"
    if len(bits) != 1 or min(bits) not in SOUND[photometric]:
        return f"{'/'.join(map(str, sorted(bits)))}-bit samples are not supported"
    if bits == {16} and photometric in (RGB, SEPARATED) and _told_maximum(tags) in PARTIAL:
        return f"16-bit colours of at most {_told_maximum(tags)} are not supported"
    if tags.get(PLANES, 1) == 2 and (bits != {8} or photometric in (YCBCR, CIELAB)):
        return "planes of samples other than 8-bit RGB are not supported"
    if tags.get(PLANES, 1) == 2 and 1 in _numbers(tags.get(EXTRA, ())):
        return "planes of premultiplied samples are not supported"
    subsampling = _numbers(tags.get(SUBSAMPLING, (2, 2)))
    if photometric == YCBCR and compression in UNCOMPRESSED and set(subsampling) != {1}:
        return "uncompressed subsampled YCbCr is not supported"
    if photometric == SEPARATED and tags.get(INK_SET, 1) != 1:
        return "inks other than CMYK are not supported"
    return None


def _numbers(value: Any) -> tuple[int, ...]:
    values = value if isinstance(value, tuple) else (value,)
    return tuple(number for number in values if isinstance(number, int))
