"""The benchmark of freed memory: its arithmetic."""

from benchmarks.freed_memory import summary


def test_the_ratio_is_the_median_over_rounds():
    kept = [{"seconds": s, "faults": 10.0} for s in (1.0, 3.0, 2.0)]
    left = [{"seconds": s, "faults": 2000.0} for s in (2.0, 3.0, 8.0)]
    assert summary({"keep": kept, "leave": left}) == [
        "keep: 2.000 s and 10 page faults a step",
        "leave: 3.000 s and 2,000 page faults a step",
        "ratio 0.50 (0.25..1.00)",
    ]
