"""The reading-cost benchmark on a tiny network."""

from benchmarks.adaptation.reading_cost import measure
from tests.conftest import TINY


def test_every_reading_is_timed_against_mean_pooling():
    found = measure(TINY, size=32, batch=2, rounds=2)["readings"]
    assert list(found) == [
        "untouched start, mean pooling",
        "untouched start, mean pooling + mirror",
        "untouched start, GeM + whitening",
        "untouched start, GeM + whitening + mirror",
        "untouched start, fitted reading",
        "untouched start, fitted reading + mirror",
    ]
    assert found["untouched start, mean pooling"]["ratio"] == 1.0
    assert all(one["ms_a_picture"] > 0 for one in found.values())
