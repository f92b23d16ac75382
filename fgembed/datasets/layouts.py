"""How four official data sets say which class and split an image is of, and what it shows.

Each layout names the files that say so by the end of their path, reads them, and gives one
`Example` for each image. Sources of the formats: the README of CUB-200-2011, the devkits of
Stanford Cars (both releases), the README of FGVC-Aircraft 2013b, and the lists of Stanford Dogs.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np

from fgembed.errors import IntegrityError, MissingExtraError

Box = tuple[float, float, float, float]  # left, top, width and height, in pixels
Contents = Mapping[str, bytes]


@dataclass(frozen=True)
class Example:
    """One image of a data set.

    Attributes:
        image: the end of its path in the download.
        label: its class, as the folder is called.
        split: `train` or `test`.
        box: of the object, if there is one.
        parts: the visible ones, by name: x and y in pixels.
    """

    image: str
    label: str
    split: str
    box: Box | None = None
    parts: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """An official data set.

    Attributes:
        title: its full name.
        needed: ends of the paths of the files that say class and split; of several alternatives
            the first whose files are all there.
        read: the examples, from the contents of these files.
        box_file: the end of the path of the file that holds an example's box, if it has its own.
        counts: of the official split, train and test.
        banner: rows at the bottom of each image that are no part of the photograph.
        archives: what is to be downloaded.
    """

    title: str
    needed: tuple[tuple[str, ...], ...]
    read: Callable[[Contents], list[Example]]
    counts: tuple[int, int]
    archives: str
    box_file: Callable[[Example], str] | None = None
    banner: int = 0


def _lines(contents: Contents, name: str) -> Iterator[list[str]]:
    """The words of each line of a text file."""
    for line in contents[name].decode("utf-8").splitlines():
        if line.strip():
            yield line.split()


def _cub(contents: Contents) -> list[Example]:
    """CUB-200-2011: one table for each fact, by the number of the image."""
    splits = {number: flag for number, flag in _lines(contents, "train_test_split.txt")}
    boxes = {
        number: (float(x), float(y), float(w), float(h))
        for number, x, y, w, h in _lines(contents, "bounding_boxes.txt")
    }
    names = {number: " ".join(words) for number, *words in _lines(contents, "parts/parts.txt")}
    parts: dict[str, dict[str, tuple[float, float]]] = {}
    for number, part, x, y, visible in _lines(contents, "parts/part_locs.txt"):
        if visible == "1":
            parts.setdefault(number, {})[names[part]] = float(x), float(y)
    return [
        Example(
            image=path,
            label=path.partition("/")[0],
            split="train" if splits[number] == "1" else "test",
            box=boxes[number],
            parts=parts.get(number, {}),
        )
        for number, path in _lines(contents, "images.txt")
    ]


def _aircraft(contents: Contents) -> list[Example]:
    """FGVC-Aircraft: an image's number and its variant in a line; training and validation join."""
    boxes = {
        number: (float(x1), float(y1), float(x2) - float(x1) + 1, float(y2) - float(y1) + 1)
        for number, x1, y1, x2, y2 in _lines(contents, "images_box.txt")
    }
    return [
        Example(f"images/{number}.jpg", " ".join(variant), split, boxes[number])
        for split, name in (("train", "trainval"), ("test", "test"))
        for number, *variant in _lines(contents, f"images_variant_{name}.txt")
    ]


def _matlab(contents: Contents, name: str, variable: str) -> Any:
    try:
        from scipy.io import loadmat
    except ImportError:
        raise MissingExtraError("this data set", "scipy", "datasets") from None
    read = loadmat(BytesIO(contents[name]), squeeze_me=True, struct_as_record=False)
    return np.atleast_1d(read[variable])


def _cars(contents: Contents) -> list[Example]:
    """Stanford Cars: one list of both splits, or the devkit's list of each."""
    if "cars_annos.mat" in contents:
        names = _matlab(contents, "cars_annos.mat", "class_names")
        rows = [
            (row, row.relative_im_path, "test" if row.test else "train")
            for row in _matlab(contents, "cars_annos.mat", "annotations")
        ]
    else:
        names = _matlab(contents, "cars_meta.mat", "class_names")
        lists = {"train": "cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}
        rows = [
            (row, f"cars_{split}/{row.fname}", split)
            for split, name in lists.items()
            for row in _matlab(contents, name, "annotations")
        ]
    return [
        Example(str(image), str(names[getattr(row, "class") - 1]), split, _corners(row))
        for row, image, split in rows
    ]


def _corners(row: Any) -> Box:
    left, top = float(row.bbox_x1), float(row.bbox_y1)
    return left, top, float(row.bbox_x2) - left + 1, float(row.bbox_y2) - top + 1


def _dogs(contents: Contents) -> list[Example]:
    """Stanford Dogs: a list of paths for each split; the breed follows the number of its synset."""
    return [
        Example(str(path), str(path).partition("/")[0].partition("-")[2], split)
        for split in ("train", "test")
        for path in _matlab(contents, f"{split}_list.mat", "file_list")
    ]


def xml_box(content: bytes) -> Box | None:
    """The first box of a Pascal VOC annotation, which Stanford Dogs has for each image.

    Example:
        >>> xml_box(b"<xmin>3</xmin><ymin>4</ymin><xmax>12</xmax><ymax>23</ymax>")
        (3.0, 4.0, 10.0, 20.0)
    """
    corners = []
    for name in (b"xmin", b"ymin", b"xmax", b"ymax"):
        match = re.search(rb"<%s>\s*(\d{1,6})\s*</%s>" % (name, name), content)
        if match is None:
            return None
        corners.append(float(match[1]))
    left, top, right, bottom = corners
    return left, top, right - left + 1, bottom - top + 1


LAYOUTS = {
    "cub": Layout(
        title="CUB-200-2011",
        needed=(
            (
                "images.txt",
                "train_test_split.txt",
                "bounding_boxes.txt",
                "parts/parts.txt",
                "parts/part_locs.txt",
            ),
        ),
        read=_cub,
        counts=(5_994, 5_794),
        archives="CUB_200_2011.tgz",
    ),
    "cars": Layout(
        title="Stanford Cars",
        needed=(
            ("cars_annos.mat",),
            ("cars_train_annos.mat", "cars_test_annos_withlabels.mat", "cars_meta.mat"),
        ),
        read=_cars,
        counts=(8_144, 8_041),
        archives="car_ims.tgz and cars_annos.mat; or cars_train.tgz, cars_test.tgz, "
        "car_devkit.tgz and cars_test_annos_withlabels.mat",
    ),
    "aircraft": Layout(
        title="FGVC-Aircraft, variants",
        needed=(("images_variant_trainval.txt", "images_variant_test.txt", "images_box.txt"),),
        read=_aircraft,
        counts=(6_667, 3_333),
        archives="fgvc-aircraft-2013b.tar.gz",
        banner=20,
    ),
    "dogs": Layout(
        title="Stanford Dogs",
        needed=(("train_list.mat", "test_list.mat"),),
        read=_dogs,
        counts=(12_000, 8_580),
        archives="images.tar, lists.tar and, for the boxes, annotation.tar",
        box_file=lambda example: example.image.removesuffix(".jpg"),
    ),
}


def examples_of(layout: Layout, contents: Contents) -> list[Example]:
    """The layout's examples.

    Raises:
        IntegrityError: a file is not as the data set's is.
    """
    try:
        return layout.read(contents)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, NotImplementedError) as e:
        raise IntegrityError(
            f"the lists of {layout.title} are not as published: {e}", "download them again"
        ) from None


def names_of(layouts: Collection[str]) -> str:
    """For the help.

    Example:
        >>> names_of(LAYOUTS)
        'cub, cars, aircraft or dogs'
    """
    *most, last = layouts
    return f"{', '.join(most)} or {last}"
