"""Writes a data set as class folders, and what else its annotations say as tables."""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path, PurePosixPath

from PIL import Image

from fgembed.datasets.downloads import Downloads
from fgembed.datasets.layouts import LAYOUTS, Box, Example, Layout, examples_of, xml_box
from fgembed.disk.files import staged_folder, write_text
from fgembed.errors import FgembedError, NotFoundError
from fgembed.progress import ReportStage, silent

QUALITY = 95  # of a JPEG whose banner was cut off
SPLITS = ("train", "test")


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        folder: holds `train`, `test`, `metadata.csv` and, where parts are known, `parts.csv`.
        train: number of images.
        test: number of images.
        classes: number of classes.
        boxes: how many images have one.
    """

    folder: Path
    train: int
    test: int
    classes: int
    boxes: int


def write_dataset(
    name: str, downloads: Path, out: Path, report_stage: ReportStage = silent
) -> Written:
    """Turns downloaded archives, or what was unpacked from them, into class folders.

    Images are copied as they are, but for a banner below the photograph, which is cut off. `out` is
    complete or not there.

    Args:
        name: of `LAYOUTS`.
        downloads: the folder of the downloaded files.
        out: must not exist, or be empty.
        report_stage: takes the name of each stage as it begins.

    Raises:
        NotFoundError: a file is missing; names it, and what is to be downloaded.
        FgembedError: the split is not the official one, or `out` holds files.
        IntegrityError: a file is damaged.
    """
    layout, files = LAYOUTS[name], Downloads(downloads)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FgembedError(f"{out} is not empty", "give another folder with --out")
    report_stage(f"reading the lists of {layout.title}")
    examples = examples_of(layout, _lists(layout, files))
    _check_counts(layout, examples)
    boxes = _boxes(layout, files, examples)
    with staged_folder(out) as staged:
        report_stage(f"writing {len(examples):,} images")
        paths = _write_images(layout, files, examples, staged)
        rows = [
            [path, PurePosixPath(path).parts[1], example.split, *_cells(boxes[example.image])]
            for example, path in zip(examples, paths, strict=True)
        ]
        titles = ["path", "label", "split", "left", "top", "width", "height"]
        write_text(staged / "metadata.csv", _table([titles, *rows]))
        parts = [
            [path, part, *place]
            for example, path in zip(examples, paths, strict=True)
            for part, place in example.parts.items()
        ]
        if parts:
            write_text(staged / "parts.csv", _table([["path", "part", "x", "y"], *parts]))
    counts = Counter(example.split for example in examples)
    return Written(
        folder=out,
        train=counts["train"],
        test=counts["test"],
        classes=len({example.label for example in examples}),
        boxes=sum(box is not None for box in boxes.values()),
    )


def _lists(layout: Layout, files: Downloads) -> dict[str, bytes]:
    """The contents of the first alternative that is complete."""
    every = {name for names in layout.needed for name in names}
    contents = dict(files.matching(every))
    for names in layout.needed:
        if all(name in contents for name in names):
            return {name: contents[name] for name in names}
    missing = [name for name in layout.needed[0] if name not in contents]
    raise NotFoundError(
        f"{files.folder} and its archives hold no {missing[0]} of {layout.title}",
        f"download {layout.archives} into it",
    )


def _check_counts(layout: Layout, examples: Sequence[Example]) -> None:
    counts = Counter(example.split for example in examples)
    actual = tuple(counts[split] for split in SPLITS)
    if actual != layout.counts or len({example.image for example in examples}) != sum(actual):
        official = " and ".join(f"{count:,}" for count in layout.counts)
        raise FgembedError(
            f"the lists of {layout.title} name {actual[0]:,} training and {actual[1]:,} test "
            f"images, and the official split has {official}",
            f"download {layout.archives} again",
        )


def _boxes(layout: Layout, files: Downloads, examples: Sequence[Example]) -> dict[str, Box | None]:
    boxes: dict[str, Box | None] = {e.image: e.box for e in examples}
    if layout.box_file is not None:
        image = {layout.box_file(example): example.image for example in examples}
        for end, content in files.matching(image):
            boxes[image[end]] = xml_box(content)
    return boxes


def _write_images(
    layout: Layout, files: Downloads, examples: Sequence[Example], staged: Path
) -> list[str]:
    """Writes every image, and returns their paths below `staged`."""
    paths = {}
    for example in examples:
        folder = "".join("_" if c in '/\\:*?"<>|' else c for c in example.label).strip(". ")
        name = PurePosixPath(example.image).name
        paths[example.image] = f"{example.split}/{folder}/{name}"
    if len(set(paths.values())) < len(paths):
        raise FgembedError(
            f"two images of {layout.title} would get one name", f"download {layout.archives} again"
        )
    for path in {PurePosixPath(path).parent for path in paths.values()}:
        (staged / path).mkdir(parents=True, exist_ok=True)
    waiting = set(paths)
    for end, content in files.matching(paths):
        image = _without_banner(content, layout.banner) if layout.banner else content
        (staged / paths[end]).write_bytes(image)
        waiting.remove(end)
    if waiting:
        raise NotFoundError(
            f"{files.folder} and its archives lack {len(waiting):,} of {len(paths):,} images of "
            f"{layout.title}, the first {min(waiting)}",
            f"download {layout.archives} into it",
        )
    return list(paths.values())


def _without_banner(content: bytes, rows: int) -> bytes:
    with Image.open(BytesIO(content)) as image:
        result = BytesIO()
        kept = image.convert("RGB").crop((0, 0, image.width, max(1, image.height - rows)))
        kept.save(result, "JPEG", quality=QUALITY, subsampling=0)
    return result.getvalue()


def _cells(box: Box | None) -> list[str]:
    return ["", "", "", ""] if box is None else [f"{value:g}" for value in box]


def _table(rows: Sequence[Sequence[object]]) -> str:
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
