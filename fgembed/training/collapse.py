"""Stops a training that has collapsed, and says which setting to change."""

from dataclasses import dataclass
from typing import Any

from fgembed.config import RunConfig, validate
from fgembed.disk.files import write_json
from fgembed.errors import FgembedError
from fgembed.methods.base import Method
from fgembed.resolve import resolve
from fgembed.training.metrics_log import MetricsLog
from fgembed.training.spread import LOWEST_DEVIATION, Spread, SpreadWatch
from fgembed.workspace import RunFolder

LOWERED = ("learning_rate", "encoder_scale", "weight_decay", "momentum")  # what harms if raised


@dataclass(frozen=True)
class CollapseStop:
    """What stops a run once its encoder has collapsed.

    Attributes:
        run: its folder; a note in it keeps the run from being resumed.
        config: its settings, the method's written out.
        watch: measures the encoder.
    """

    run: RunFolder
    config: RunConfig
    watch: SpreadWatch

    def check(
        self, method: Method, step: int, steps: int, log: MetricsLog, values: dict[str, float]
    ) -> dict[str, float]:
        """Measures the spread, and stops the run if it says so; the last checkpoint stays.

        Args:
            method: what is trained.
            step: number of steps taken.
            steps: of the complete training.
            log: gets the figures of the last step.
            values: its other figures.

        Returns:
            The figures of the spread, by their names in the log.

        Raises:
            FgembedError: naming the settings that are harsher than those of the recipe.
        """
        spread = self.watch.measure()
        if not self.watch.has_collapsed(spread):
            return spread.figures()
        log.write(step - 1, values | spread.figures())
        verb = "collapsed" if spread.is_finite() else "diverged"
        fact = f"the training has {verb} at step {step} of {steps}: {self._what(spread)}"
        remedy = self.remedy(method)
        write_json(self.run.collapse, {"step": step, "fact": fact, "remedy": remedy})
        raise FgembedError(fact, remedy)

    def remedy(self, method: Method) -> str:
        """What to change in the settings of a run that has collapsed or is no longer finite."""
        return f"start a new run with {milder(self.config, method)}"

    def _what(self, spread: Spread) -> str:
        images, start = f"{self.watch.count} different training images", self.watch.start
        if not spread.is_finite():
            return f"the encoder's vectors of {images} are not finite"
        share = spread.deviation / start.deviation
        if share < LOWEST_DEVIATION:
            return (
                f"the encoder maps {images} almost to one point, spread {100 * share:.2g} % as "
                "widely as at the start"
            )
        return (
            f"the encoder maps {images} almost to one line, of effective rank {spread.rank:.2f} "
            f"against {start.rank:.1f} at the start"
        )


def milder(config: RunConfig, method: Method) -> str:
    """What to change in the settings: first what is harsher than in the method's recipe.

    Args:
        config: of the run.
        method: with its settings.
    """
    name = config.method.name
    of_recipe: dict[str, Any] = {"method": {"name": name}}
    recipe = resolve({}, of_recipe | ({"recipe": config.recipe} if config.recipe else {}), name)
    changes = _raised(config, recipe)
    usual = validate(type(method).Config, recipe.method.model_extra or {}, name).model_dump()
    for key, value in method.config.model_dump().items():
        if isinstance(usual[key], float) and value != usual[key]:
            changes.append(f"method.{key} set back to {usual[key]:g} ({value:g} here)")
    if changes:
        return " and ".join(changes)
    rate = config.optimiser.learning_rate
    return f"a lower optimiser.learning_rate ({rate:g} here), such as {rate / 10:g}"


def _raised(config: RunConfig, recipe: RunConfig) -> list[str]:
    """The optimiser's settings that are higher than the recipe's, the learning rate first."""
    mine, usual = config.optimiser, recipe.optimiser
    here, there = (
        ("", "") if mine.name == usual.name else (f" with {mine.name}", f" with {usual.name}")
    )
    raised = []
    for key in LOWERED:
        value, published = getattr(mine, key), getattr(usual, key)
        other_steps = key == "learning_rate" and mine.name != usual.name
        if value > published or other_steps:
            where = f"{value:g}{here} here, {published:g}{there} in the recipe"
            raised.append(f"a lower optimiser.{key} ({where})")
    return raised
