"""The teachers that a run's settings name, made before any image is read."""

from dataclasses import replace
from pathlib import Path

from fgembed.backbones import make_backbone
from fgembed.evaluation.floors import uncalibrated_start
from fgembed.images.preprocessing import Preprocessing
from fgembed.methods.components.target_settings import TeacherSettings
from fgembed.model.reading.fitting import FitSettings
from fgembed.training.preparation import Prepared
from fgembed.training.start import with_normalisation
from fgembed.training.teachers.graph import FittedGraph
from fgembed.training.teachers.teacher import FittedBackbone, Teacher


def make_teachers(prepared: Prepared) -> list[Teacher]:
    """The networks other than the start whose vectors the run's method learns.

    Raises:
        FgembedError: a network is not to be had, or does not take such images.
    """
    return [_teacher(teacher, prepared) for teacher in prepared.method.target_teachers]


def _teacher(teacher: TeacherSettings, prepared: Prepared) -> Teacher:
    config, device, mirror = prepared.config, prepared.device, prepared.start.reading.mirror
    settings = replace(FitSettings.of(config.pooling.of_the_floor()), larger=1.0)
    if teacher.bundle is not None:
        return FittedGraph.of_bundle(Path(teacher.bundle), settings, mirror, device)
    spec = _preprocessing(teacher, config.preprocessing)
    if teacher.onnx is not None:
        return FittedGraph.of_file(Path(teacher.onnx), spec, settings, mirror)
    assert teacher.backbone is not None
    spec = with_normalisation(spec, teacher.backbone, teacher.weights)
    backbone = make_backbone(teacher.backbone, teacher.weights, size=spec.size)
    encoder = uncalibrated_start(backbone, config.pooling, mirror)
    return FittedBackbone(encoder, spec, settings, device, config.preprocessing.size)


def _preprocessing(teacher: TeacherSettings, spec: Preprocessing) -> Preprocessing:
    if teacher.mean is not None and teacher.std is not None:
        spec = replace(spec, mean=teacher.mean, std=teacher.std)
    return replace(spec, size=teacher.size or spec.size)
