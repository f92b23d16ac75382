"""ICC profiles written from primaries and a tone curve, for colours that are given in numbers.

PNG (gAMA, cHRM, cICP), HEIF and AVIF (nclx) and DCF (Adobe RGB) name a colour space without a
profile. A profile of it lets one converter, LittleCMS, serve all of them.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

D65 = (0.3127, 0.3290)
BT709 = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
BT2020 = ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))
DISPLAY_P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
ADOBE_RGB = ((0.640, 0.330), (0.210, 0.710), (0.150, 0.060))
PRIMARIES = {1: BT709, 9: BT2020, 12: DISPLAY_P3}  # by their number in ITU-T H.273
SDR_WHITE_NITS = 203  # ITU-R BT.2408: diffuse white of an HDR image
PEAK_NITS = 1000
_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
_CURVE_POINTS = 4096

Point = tuple[float, float]
Curve = NDArray[np.float64]  # linear light in [0, 1] at evenly spaced codes


def matrix_profile(primaries: Sequence[Point], white: Point, curve: Curve) -> bytes:
    """An ICC version 2 profile of an RGB space.

    Args:
        primaries: x and y of red, green and blue.
        white: x and y of the white point.
        curve: see `Curve`; one for all channels.

    Raises:
        ValueError: the primaries span no colour space.
    """
    xyz = _to_d50(white) @ _rgb_to_xyz(primaries, white)  # columns: red, green, blue
    values = (curve * 65535).round().clip(0, 65535).astype(">u2")
    trc = b"curv" + bytes(4) + struct.pack(">I", len(values)) + values.tobytes()
    tags = {b"desc": _description(), b"wtpt": _xyz(_D50), b"rTRC": trc}
    for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), xyz.T, strict=True):
        tags[name] = _xyz(column)
    return _profile(tags)


@lru_cache
def coded_profile(primaries: int, transfer: int) -> bytes | None:
    """The profile of code points of ITU-T H.273; None for sRGB's own and for unknown ones.

    HDR (PQ and HLG) is mapped to a screen's range: diffuse white at 203 nits, what is brighter
    compressed as in Reinhard et al., "Photographic tone reproduction", eq. 4.
    """
    curve = coded_curve(transfer)
    if primaries not in PRIMARIES or curve is None:
        return None
    return matrix_profile(PRIMARIES[primaries], D65, curve)


def coded_curve(transfer: int) -> Curve | None:
    """The tone curve of a transfer characteristic of ITU-T H.273; None if it is not known.

    BT.709's is taken for sRGB's, as viewers do: cameras and encoders write 1 and mean 13.
    """
    if transfer in (1, 6, 13, 14, 15):
        return srgb_curve()
    if transfer in (4, 5, 8):
        return gamma_curve({4: 2.2, 5: 2.8, 8: 1}[transfer])
    if transfer not in (16, 18):
        return None
    light = _pq() if transfer == 16 else _hlg()
    return _tone_mapped(light / SDR_WHITE_NITS)


def srgb_curve() -> Curve:
    """The curve of sRGB (IEC 61966-2-1), which Display P3 shares."""
    code = np.linspace(0, 1, _CURVE_POINTS)
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)


def gamma_curve(exponent: float) -> Curve:
    """Code to the power of `exponent`."""
    return np.linspace(0, 1, _CURVE_POINTS) ** exponent


def _pq() -> Curve:
    """Candela per square metre by SMPTE ST 2084."""
    root = np.linspace(0, 1, _CURVE_POINTS) ** (32 / 2523)
    light: Curve = (np.maximum(root - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * root)) ** (
        16384 / 2610
    )
    return 10_000 * light


def _hlg() -> Curve:
    """Candela per square metre by ITU-R BT.2100 hybrid log-gamma, on a screen of `PEAK_NITS`."""
    code = np.linspace(0, 1, _CURVE_POINTS)
    bright = (np.exp((code - 0.55991073) / 0.17883277) + 0.28466892) / 12
    scene: Curve = np.where(code <= 0.5, code**2 / 3, bright)
    return PEAK_NITS * scene**1.2


def _tone_mapped(light: Curve) -> Curve:
    white = PEAK_NITS / SDR_WHITE_NITS
    return np.minimum(light * (1 + light / white**2) / (1 + light), 1)


def _rgb_to_xyz(primaries: Sequence[Point], white: Point) -> NDArray[np.float64]:
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in primaries if y > 0]).T
    if columns.shape != (3, 3) or white[1] <= 0 or abs(np.linalg.det(columns)) < 1e-6:
        raise ValueError("the primaries span no colour space")
    return columns * np.linalg.solve(columns, _white_xyz(white))


def _to_d50(white: Point) -> NDArray[np.float64]:
    scale = (_BRADFORD @ _D50) / (_BRADFORD @ _white_xyz(white))
    adapted: NDArray[np.float64] = np.linalg.inv(_BRADFORD) @ (scale[:, None] * _BRADFORD)
    return adapted


def _white_xyz(white: Point) -> NDArray[np.float64]:
    x, y = white
    return np.array([x / y, 1, (1 - x - y) / y])


def _description() -> bytes:
    text = b"from numbers\0"
    return b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78)


def _xyz(values: NDArray[np.float64]) -> bytes:
    numbers = [round(float(value) * 65536) for value in values]
    return b"XYZ " + bytes(4) + struct.pack(">3i", *numbers)


def _profile(tags: dict[bytes, bytes]) -> bytes:
    names = {name: name for name in tags} | {b"gTRC": b"rTRC", b"bTRC": b"rTRC"}
    start = 128 + 4 + 12 * len(names)
    offsets: dict[bytes, int] = {}
    body = b""
    for name, data in tags.items():
        offsets[name] = start + len(body)
        body += data + bytes(-len(data) % 4)
    table = b"".join(
        struct.pack(">4sII", name, offsets[own], len(tags[own])) for name, own in names.items()
    )
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(names)) + table + body
