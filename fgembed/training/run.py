"""One run from settings to a finished folder: prepare, train, calibrate, measure.

`fgembed.workspace.RunFolder` names the files that it then holds. In `start/` are the floors: the
untouched start, calibrated, and the whitenings of its other readings.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

from fgembed.config import RunConfig, write_config
from fgembed.data.loading import TrainingImages
from fgembed.disk.files import digest, write_json
from fgembed.disk.latest import set_latest
from fgembed.evaluation.floor_table import Selected
from fgembed.evaluation.guard import START_ITSELF
from fgembed.evaluation.label_free import label_free_figures
from fgembed.evaluation.protocol import Split
from fgembed.evaluation.subject import measure_run
from fgembed.images.skipped import Skipped, write_skipped
from fgembed.methods.base import Method
from fgembed.model.out_of_memory import explained_memory
from fgembed.progress import ReportStage, silent
from fgembed.training import loop
from fgembed.training.calibration import Embedders, check_start, fit_and_save
from fgembed.training.claim import claimed
from fgembed.training.collapse import CollapseStop
from fgembed.training.epoch_selection import Selection, selection_split
from fgembed.training.preparation import (
    Prepared,
    batch_memory,
    readable_images,
    require_batch,
    require_distinct,
    trains,
)
from fgembed.training.preparation import prepare as prepare_method
from fgembed.training.resuming.checkpoint import read_position, where_it_continues
from fgembed.training.resuming.fingerprint import (
    Fingerprint,
    check_images,
    check_settings,
    image_checksums,
)
from fgembed.training.run_report import RunReport, write_run_report
from fgembed.training.spread import SpreadWatch
from fgembed.training.teachers.choice import make_teachers
from fgembed.training.teachers.targets import give_targets
from fgembed.training.teachers.teacher import Teacher
from fgembed.training.verdict import judged
from fgembed.workspace import RunFolder


@dataclass(frozen=True)
class ReadyRun:
    """A run whose settings and images are sound; its folder exists.

    Attributes:
        folder: the run's.
        prepared: settings, device, start and method.
        teachers: those beside the start.
        images: trained on.
        held_out: number of images that only select the epoch.
        split: gallery and queries that select the epoch, if any.
        skipped: the images that could not be read.
        fingerprint: see `fgembed.training.resuming.fingerprint`.
        steps_done: in the checkpoint that the run continues, 0 without one.
    """

    folder: RunFolder
    prepared: Prepared
    teachers: list[Teacher]
    images: TrainingImages
    held_out: int
    split: Split | None
    skipped: list[Skipped]
    fingerprint: Fingerprint
    steps_done: int

    @property
    def epochs(self) -> int:
        """Of the complete training, 0 if nothing is trained."""
        config = self.prepared.config
        return config.optimiser.epochs if trains(config, self.prepared.method) else 0

    @property
    def steps(self) -> int:
        """Of the complete training, 0 if nothing is trained."""
        return self.epochs * (len(self.images) // self.prepared.config.optimiser.batch_size)

    @property
    def epochs_done(self) -> int:
        """Complete epochs in the checkpoint."""
        batch_size = self.prepared.config.optimiser.batch_size
        return self.steps_done // (len(self.images) // batch_size)

    @property
    def is_start(self) -> bool:
        """Whether the run's encoder is its own floor: nothing learned, and read alike."""
        settings, method = self.prepared.config.pooling, self.prepared.method
        same_reading = settings.of_the_floor() == settings
        same_pooling = method.encoder.pooling.kind == self.prepared.start.pooling.kind
        learned = trains(self.prepared.config, method) or self.prepared.labels is not None
        return not learned and same_reading and same_pooling


@dataclass(frozen=True)
class TrainedRun:
    """A run whose method is trained, in place; `selected` is None if the last epoch is kept."""

    ready: ReadyRun
    selected: Selected | None


def run_training(
    config: RunConfig,
    method_class: type[Method],
    folder: Path,
    report: loop.Report,
    report_stage: ReportStage = silent,
) -> RunReport:
    """Trains into `folder`, from its checkpoint if it holds one.

    Args:
        config: the run's settings.
        method_class: the class of the method that the settings name.
        folder: the run folder.
        report: takes the training's progress.
        report_stage: takes the name of each stage as it begins.

    Raises:
        InUseError: another process trains into `folder`.
        FgembedError: see `fgembed.errors`; what is on disk stays usable.
    """
    with claimed(folder):
        begun = RunFolder(folder).config.is_file()
        ready = prepare(config, method_class, RunFolder(folder), report_stage)
        if begun:
            report_stage(
                where_it_continues(ready.folder, ready.steps_done, ready.steps, ready.epochs)
            )
        trained = train(ready, report, report_stage)
        report_stage("fitting the whitening, of the start and of the trained encoder")
        embedders = fit_and_save(ready.prepared, ready.images.paths, ready.folder, ready.is_start)
        return measure(trained, embedders, report_stage)


def prepare(
    config: RunConfig, method_class: type[Method], folder: RunFolder, report_stage: ReportStage
) -> ReadyRun:
    """Builds the method and checks the images; writes nothing before both are sound."""
    folder.refuse_collapsed()
    prepared = prepare_method(config, method_class)
    teachers = make_teachers(prepared)
    config = prepared.config
    position = read_position(folder)
    learns = method_class.takes_targets
    labels = prepared.labels.content if prepared.labels else None
    if position:
        check_settings(folder, config, position.fingerprint, learns, labels)
    report_stage(f"checking {len(prepared.paths)} images")
    readable, skipped = readable_images(config, prepared.paths, prepared.unreadable)
    paths, split = selection_split(config, readable)
    require_batch(config, prepared.method, len(paths))
    checksums = image_checksums(Path(config.images or ""), readable)
    require_distinct(config, checksums)
    if position:
        check_images(folder, config, checksums, position.fingerprint.images)
    folder.path.mkdir(parents=True, exist_ok=True)
    write_skipped(folder.skipped, skipped)
    write_json(folder.images, checksums)
    write_config(folder.config, config)
    set_latest(folder.path)
    return ReadyRun(
        folder=folder,
        prepared=prepared,
        teachers=teachers,
        images=prepared.training_images(paths),
        held_out=len(readable) - len(paths),
        split=split,
        skipped=skipped,
        fingerprint=Fingerprint.of(config, checksums, learns, labels),
        steps_done=position.step if position else 0,
    )


def train(ready: ReadyRun, report: loop.Report, report_stage: ReportStage = silent) -> TrainedRun:
    """Trains the method and restores the epoch that is selected."""
    config, method, device = ready.prepared.config, ready.prepared.method, ready.prepared.device
    selection = None
    if ready.split is not None:
        selection = Selection(
            method.encoder,
            ready.split,
            config,
            ready.folder,
            device=device,
            epochs_done=ready.epochs_done,
            fingerprint=digest(asdict(ready.fingerprint)),
        )
    if not trains(config, method):
        return TrainedRun(ready, None)
    check_start(ready.prepared, ready.images.paths)
    give_targets(ready.prepared, ready.teachers, ready.images.paths, report_stage)
    spec = config.preprocessing
    watch = SpreadWatch(method.encoder, ready.images.paths, spec, device)  # of the start
    with explained_memory(*batch_memory(config)):
        loop.train(
            method,
            ready.images,
            config,
            ready.folder,
            device,
            report,
            fingerprint=ready.fingerprint,
            collapse=CollapseStop(ready.folder, config, watch),
            on_epoch_end=selection.score_epoch if selection else loop.no_figures,
        )
    return TrainedRun(ready, selection.restore() if selection else None)


def measure(run: TrainedRun, embedders: Embedders, report_stage: ReportStage) -> RunReport:
    """Scores the run beside its start and writes its report."""
    report_stage("measuring")
    ready, config = run.ready, run.ready.prepared.config
    table = measure_run(ready.folder.path, config, ready.prepared.device)
    report = RunReport(
        method=config.method.name,
        images=len(ready.images),
        held_out=ready.held_out,
        selected=run.selected,
        skipped=ready.skipped,
        passed_over=ready.prepared.passed_over,
        guard=START_ITSELF
        if ready.is_start
        else judged(ready.prepared, ready.images.paths, embedders, table, report_stage),
        start=label_free_figures(embedders.start, ready.images),
        trained=label_free_figures(embedders.trained, ready.images),
        table=table,
        labels=ready.prepared.labels.counts if ready.prepared.labels else None,
    )
    write_run_report(ready.folder, report)
    return report
