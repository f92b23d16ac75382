"""Plots recall against time of all settings that `fgembed index tune` has tried."""

from pathlib import Path

from fgembed.disk.files import atomic_write
from fgembed.errors import FgembedError, MissingExtraError
from fgembed.index.changes.retune import Retuned


def check_plot(out: Path) -> None:
    """Checks that a plot can be written into such a file, before anything is tuned for it.

    Raises:
        FgembedError: it ends neither in .png nor in .svg.
    """
    if out.suffix not in (".png", ".svg"):
        raise FgembedError(f"{out} is neither .png nor .svg", "give the file one of these endings")


def plot(out: Path, retuned: Retuned) -> None:
    """Draws recall@10 against milliseconds per query for each setting of the largest segment.

    One line for each `k_factor`; a circle marks the setting that tuning has selected.

    Raises:
        MissingExtraError: matplotlib is not installed.
        FgembedError: nothing was tuned, or `out` is neither .png nor .svg.
    """
    check_plot(out)
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        raise MissingExtraError("a plot", "matplotlib", "train") from None
    if not retuned.tuned:
        raise FgembedError(
            "search of this index is exact, so there is nothing to draw", "leave --plot out"
        )
    segment, tuned = max(retuned.tuned, key=lambda pair: pair[0].count)
    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    factors = sorted({point.parameters.get("k_factor", 1) for point in tuned.points})
    for factor in factors:
        points = [p for p in tuned.points if p.parameters.get("k_factor", 1) == factor]
        points.sort(key=lambda point: point.batch_query_ms)
        axes.plot(
            [p.recall_at_10 for p in points], [p.batch_query_ms for p in points],
            marker="o", label=f"k_factor {factor}",
        )  # fmt: skip
    axes.axvline(retuned.manifest.recall, color="grey", linestyle=":", label="requested recall")
    selected = next(point for point in tuned.points if point.parameters == tuned.parameters)
    axes.scatter(
        [selected.recall_at_10], [selected.batch_query_ms], s=160, facecolors="none",
        edgecolors="black", label="taken", zorder=3,
    )  # fmt: skip
    axes.set(xlabel="recall@10 of exact search", ylabel="ms per query, one thread", yscale="log")
    axes.set_title(f"{segment.factory}, {segment.count} vectors")
    axes.legend(fontsize="small")
    with atomic_write(out) as file:
        if out.suffix == ".svg":
            figure.savefig(file, format="svg", dpi=150)
        else:  # the note tells `fgembed.images.kinds.signatures` that it is no photograph
            figure.savefig(file, format="png", dpi=150, metadata={"Software": "fgembed"})
    pyplot.close(figure)
