"""What distilled runs keep of their teacher's lead, and asymmetric search beside symmetric.

    python -m benchmarks.adaptation.taught_share runs/distill-0 [runs/distill-1 ...]

The runs were distilled with `eval.gallery` and `eval.queries` set. Their teachers are made again
and fitted to the training images. recall@1 / precision@10 / mAP in percent, of

- start: the fitted start, from the run's report;
- teacher: all teachers together, on gallery and queries;
- run: from its report; the share is (run - start) / (teacher - start);
- asymmetric: queries by the run, against the gallery by the teacher; what a run is trained for
  holds the training images' neighbours, so with a gallery that was trained on the second figure is
  that against its targets.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.adaptation.pooled_sets import measures
from benchmarks.finished_run import Row, Run
from fgembed.config import read_config
from fgembed.embedding.array_types import Vectors
from fgembed.errors import FgembedError
from fgembed.evaluation.labelled_images import LabelledImages
from fgembed.methods.distill import Distill
from fgembed.model.encoder_files import load_encoder
from fgembed.model.reading.fitting import FitSettings
from fgembed.model.reading.neighbourhood import with_neighbours
from fgembed.model.reading.whitening import Spectrum
from fgembed.model.shared_backbone import SharedPass
from fgembed.model.torch_embedder import TorchEmbedder
from fgembed.training.preparation import Prepared, prepare
from fgembed.training.teachers.choice import make_teachers
from fgembed.training.teachers.labelled import LabelledTargets
from fgembed.training.teachers.targets import own_weights, start_by, teaching_specs
from fgembed.workspace import RunFolder

COLUMNS = ("run", "start", "teacher", "run's", "share", "asymmetric", "against the targets")


def teacher_vectors(prepared: Prepared, *sets: Sequence[Path]) -> list[Tensor]:
    """Unit vectors of each set by all teachers together; the first set is what they are fitted to.

    The space is that of the run's targets.
    """
    start, spec = prepared.start, prepared.config.preprocessing
    settings = FitSettings.of(prepared.config.pooling.of_the_floor())
    shared = SharedPass({"start": start}, spec, prepared.device)
    specs = teaching_specs(prepared, shared, prepared.paths)
    teachers = start_by(specs, start, spec.size, settings, prepared.device)
    others = make_teachers(prepared)
    teachers += others
    weights = [*own_weights([s.size for s in specs], spec.size), *[1.0] * len(others)]
    for teacher in teachers:
        teacher.fit(sets[0])
    weighted = list(zip(teachers, weights, strict=True))
    joined = [torch.cat([w**0.5 * t.read(paths) for t, w in weighted], dim=1) for paths in sets]
    spectrum = Spectrum.of(joined[0], settings.dimensions)
    directions, mean = spectrum.directions.float(), spectrum.mean.float()
    return [F.normalize((vectors - mean) @ directions, dim=1) for vectors in joined]


def line(folder: Path) -> str:
    """The row of one run.

    Raises:
        FgembedError: the run is not finished, has no scores, or was not distilled.
    """
    run, config = Run.read(folder), read_config(RunFolder(folder).config)
    if config.method.name != "distill":
        raise FgembedError(f"{folder} was not distilled", "give runs of method distill")
    gallery, queries = (
        LabelledImages.find(Path(of or "")) for of in (config.eval.gallery, config.eval.queries)
    )
    prepared = prepare(config, Distill)
    paths = list(dict.fromkeys([*prepared.paths, *gallery.paths]))
    labelled = LabelledTargets.of(prepared.labels, paths)
    trained, others = teacher_vectors(prepared, labelled.paths, queries.paths)
    targets = with_neighbours(labelled.by_labels(trained), prepared.method.target_neighbours)
    position = {path: number for number, path in enumerate(paths)}
    rows = [position[path] for path in gallery.paths]
    labels, asked = gallery.labels_of(gallery.paths), queries.labels_of(queries.paths)
    encoder, spec = load_encoder(folder)
    embedded = TorchEmbedder(encoder, spec, prepared.device)(queries.paths).vectors
    by_run = torch.from_numpy(embedded)
    teacher = measures(trained[rows], labels, others, asked).mean(axis=1)
    start, own = _measures(run.floors[-1]), _measures(run.trained)
    asymmetric = [measures(v[rows], labels, by_run, asked).mean(axis=1) for v in (trained, targets)]
    shares = " / ".join(
        f"{100 * (o - s) / (t - s):.0f} %" if t > s else "-"
        for o, s, t in zip(own, start, teacher, strict=True)
    )
    cells = [folder.name, _text(start), _text(teacher), _text(own), shares]
    return f"| {' | '.join([*cells, *map(_text, asymmetric)])} |"


def _measures(row: Row) -> list[float]:
    return [100 * row.scores[name] for name in ("recall@1", "precision@10", "mAP")]


def _text(values: Sequence[float] | Vectors) -> str:
    return " / ".join(f"{value:.1f}" for value in values)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path)
    arguments = parser.parse_args()
    sys.stdout.write(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|\n")
    for folder in arguments.runs:
        try:
            sys.stdout.write(line(folder) + "\n")
        except FgembedError as error:
            sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
