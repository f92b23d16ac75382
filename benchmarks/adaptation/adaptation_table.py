"""The Markdown table of docs/adaptation.md: runs beside their floors, under both protocols.

New queries against the gallery that was trained on (what counts for a user), and leave-one-out
inside that gallery, which training can raise while new queries lose. Runs named alike but for
their number, `moco-0` and `moco-1`, are one row: the mean, and the least and the most.

    python -m benchmarks.adaptation.adaptation_table runs/* --gallery g/train --queries g/test

The floors are those of the first run; one that started elsewhere is refused.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import torch

from fgembed.config import read_config
from fgembed.cores import core_count
from fgembed.errors import FgembedError
from fgembed.evaluation.floors import Floors
from fgembed.evaluation.labelled_images import LabelledImages
from fgembed.evaluation.protocol import Embed, EmbeddedSplit, Split
from fgembed.model.encoder_files import load_encoder, read_encoder_file
from fgembed.model.shared_backbone import SharedPass
from fgembed.workspace import RunFolder

COLUMNS = (
    *("encoder", "runs", "D", "recall@1", "recall@5", "precision@10", "mAP"),
    *("leave-one-out recall@1", "its precision@10", "its mAP"),
)


@dataclass(frozen=True)
class Scored:
    """One encoder under both protocols; figures in percent, by column."""

    name: str
    dimensions: int
    figures: list[float]


def both_protocols(name: str, embed: Embed, split: Split) -> Scored:
    """Embeds both folders once and scores the encoder twice."""
    against = EmbeddedSplit.embed(embed, split, max_bad=0.5)
    inside = EmbeddedSplit(
        embed,
        against.gallery,
        against.gallery_labels,
        against.gallery,
        against.gallery_labels,
        leave_one_out=True,
    )
    first, second = against.scores(), inside.scores((1,))
    columns = [first.recall[1], first.recall[5], first.precision_at_10, first.average_precision]
    columns += [second.recall[1], second.precision_at_10, second.average_precision]
    figures = [100 * float(column.mean()) for column in columns]
    return Scored(name, against.gallery.vectors.shape[1], figures)


def markdown(floors: Sequence[Scored], runs: Sequence[Scored]) -> str:
    """The table; runs that differ in the number after their last hyphen are one row."""
    groups: dict[str, list[Scored]] = {}
    for run in runs:
        stem, _, number = run.name.rpartition("-")
        groups.setdefault(stem if number.isdigit() and stem else run.name, []).append(run)
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    lines += (_line(floor.name, "", [floor]) for floor in floors)
    lines += [_line(f"`{name}`", str(len(group)), group) for name, group in groups.items()]
    return "\n".join(lines) + "\n"


def score_runs(folders: Sequence[Path], gallery: Path, queries: Path) -> str:
    """Scores the floors of the first run, then every run.

    Raises:
        FgembedError: a run is not finished, or is of another start.
    """
    split = Split(LabelledImages.find(queries), LabelledImages.find(gallery))
    device = torch.device("cpu")
    start = read_encoder_file(RunFolder(folders[0]).start.path).sha256
    for folder in folders:
        if read_encoder_file(RunFolder(folder).start.path).sha256 != start:
            raise FgembedError(
                f"{folder} has other floors than {folders[0]}", "tabulate them apart"
            )
    shared = Floors.load(folders[0]).shared_pass(device)
    floors = [both_protocols(name, embed, split) for name, embed in shared.embedders.items()]
    return markdown(floors, list(_scored(folders, split, device)))


def _scored(folders: Sequence[Path], split: Split, device: torch.device) -> Iterator[Scored]:
    for folder in folders:
        config = read_config(RunFolder(folder).config)
        encoder, spec = load_encoder(folder)
        print(f"{folder}: {config.method.name}, seed {config.seed}", file=sys.stderr)
        embedders = SharedPass({folder.name: encoder}, spec, device).embedders
        yield both_protocols(folder.name, embedders[folder.name], split)


def _line(name: str, count: str, group: Sequence[Scored]) -> str:
    columns = zip(*(run.figures for run in group), strict=True)
    cells = [_cell(values) for values in columns]
    return "| " + " | ".join([name, count, str(group[0].dimensions), *cells]) + " |"


def _cell(values: Sequence[float]) -> str:
    """`57.5`, of several runs `57.5 (56.9..58.1)`."""
    spread = f" ({min(values):.1f}..{max(values):.1f})" if len(values) > 1 else ""
    return f"{mean(values):.1f}{spread}"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, help="run folders")
    parser.add_argument("--gallery", type=Path, required=True)
    parser.add_argument("--queries", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(core_count())
    folders = list(dict.fromkeys(folder.resolve() for folder in arguments.runs))
    try:
        print(score_runs(folders, arguments.gallery, arguments.queries), end="")
    except FgembedError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
