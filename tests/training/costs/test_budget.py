"""What a budget picks, from measured times that are given as data."""

from dataclasses import replace

import pytest

from fgembed.training.costs.budget import pick
from fgembed.training.costs.stages import Rates, Workload, stage_seconds

# 1,000 images take 10 s to check, 100 s to fit and 96.8 s to measure; an epoch takes 60 s.
RATES = Rates(decoding_s=0.01, plain_s=0.02, mirrored_s=0.04, epoch_s=60.0, fit_s=0.0)
PLAIN = Workload(images=1000, labelled=200, epochs=8, start_mirror=True, mirror=True)


def test_the_stages_are_counted_by_hand():
    work = replace(PLAIN, teacher_sizes=(1.0, 1.5), larger=2.0, mirror=False)
    stages = stage_seconds(work, replace(RATES, fit_s=3.0))
    assert stages == {
        "checking the images": pytest.approx(10),
        # two readings with the mirror image, one of the student, a fit of each
        "reading the teacher": pytest.approx(1000 * (0.05 + 0.01 + 0.04 * 1.5**2 + 0.03) + 9),
        "training": 480,
        # the start at both sizes, the student at its own
        "fitting the last layers": pytest.approx(1000 * (0.05 + 0.01 + 0.04 * 4 + 0.03) + 6),
        "measuring": pytest.approx((200 + 3 * 256) * (0.05 + 0.03)),
    }


def test_a_teacher_at_the_size_of_the_start_alone_is_the_fitted_start():
    work = replace(PLAIN, images=10_000, teacher_sizes=(1.0,), larger=2.0, mirror=False)
    stages = stage_seconds(work, replace(RATES, fit_s=3.0))
    # Both sizes for the fit, the larger one of no more than a sample; and the student.
    assert stages["reading the teacher"] == pytest.approx(
        10_000 * (0.05 + 0.03) + 4096 * (0.01 + 0.04 * 4) + 6
    )


def test_other_teachers_read_each_image_once():
    rates = replace(RATES, others_s=0.2)
    beside = stage_seconds(replace(PLAIN, teacher_sizes=(1.4,)), rates)["reading the teacher"]
    assert beside == pytest.approx(1000 * (0.01 + 0.04 * 1.4**2 + 0.03 + 0.2))
    alone = stage_seconds(PLAIN, rates)["reading the teacher"]
    assert alone == pytest.approx(1000 * (0.2 + 0.03))
    assert "reading the teacher" not in stage_seconds(replace(PLAIN, epochs=0), rates)


def test_an_untrained_run_is_read_and_fitted_once():
    stages = stage_seconds(replace(PLAIN, epochs=0, teacher_sizes=(1.4,)), RATES)
    assert stages == {
        "checking the images": pytest.approx(10),
        "fitting the last layers": pytest.approx(1000 * 0.05),
        "measuring": pytest.approx((200 + 2 * 3 * 256) * 0.05),
    }


def test_a_fit_takes_no_more_images_than_a_sample():
    many = replace(PLAIN, images=100_000)
    fitting = stage_seconds(many, RATES)["fitting the last layers"]
    assert fitting == pytest.approx(2 * 4096 * 0.05)


def test_without_labels_views_are_compared_instead():
    unlabelled = stage_seconds(replace(PLAIN, labelled=0, images=600), RATES)
    assert unlabelled["measuring"] == pytest.approx((600 + 512 + 768) * 2 * 0.05)
    untrained = stage_seconds(replace(PLAIN, labelled=0, epochs=0), RATES)
    assert untrained["measuring"] == pytest.approx(2 * 768 * 0.05)


@pytest.mark.parametrize(
    ("minutes", "epochs"),
    # 206.8 s beside the epochs, and four fifths of the budget are planned
    [(0.5, 0), (5.5, 0), (5.6, 1), (10.5, 4), (10.6, 5), (14.3, 7), (14.4, 8), (600, 8)],
)
def test_as_many_epochs_as_fit_and_no_more_than_are_asked_for(minutes: float, epochs: int):
    found = pick(PLAIN, RATES, minutes)
    assert found.work == replace(PLAIN, epochs=epochs)
    assert found.seconds == sum(stage_seconds(found.work, RATES).values())


def test_a_smaller_teacher_is_taken_where_too_few_epochs_fit_beside_the_larger():
    """At 2 x the size the teacher takes 200 s, at 1.2 x 97.6 s; the rest but the epochs 167 s."""
    taught = replace(PLAIN, teacher_sizes=(2.0,), mirror=False)
    picks = [pick(taught, RATES, minutes).work for minutes in (12.8, 12.5, 7, 5)]
    assert [(work.teacher_sizes, work.epochs) for work in picks] == [
        ((2.0,), 4), ((1.2,), 5), ((1.2,), 1), ((2.0,), 0),
    ]  # fmt: skip


def test_of_several_sizes_the_dearest_go_first():
    taught = replace(PLAIN, teacher_sizes=(1.0, 1.5, 3.0))
    picked = [pick(taught, RATES, minutes).work for minutes in (30, 16, 10)]
    assert [(work.teacher_sizes, work.epochs) for work in picked] == [
        ((1.0, 1.5, 3.0), 8), ((1.0, 1.5), 6), ((1.0, 1.5), 1),
    ]  # fmt: skip


def test_where_nothing_is_trained_there_is_nothing_to_pick():
    assert pick(replace(PLAIN, epochs=0), RATES, 0.1).work.epochs == 0
