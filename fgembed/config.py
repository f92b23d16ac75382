"""The settings of a training run: typed and frozen; the classes hold defaults and descriptions.

A file names only what differs from the defaults. `fgembed.resolve` merges recipe, file and flags.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

import tomli_w
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from fgembed.disk.sealed_files import read_sealed_toml, write_sealed_toml
from fgembed.disk.text_files import at_home
from fgembed.errors import ConfigError
from fgembed.images.preprocessing import Preprocessing
from fgembed.questions import Answers
from fgembed.text import nearest

# What the settings of a run mean that is older than they are.
OF_EARLIER_RUNS = {"preprocessing": {"version": 1}, "pooling": {"mean_weight": 0.0, "larger": 1.0}}
PathText = Annotated[str, AfterValidator(at_home)]  # `~` at its start is the home folder


class Settings(BaseModel):
    """A table of settings: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class MethodChoice(Settings):
    """The training method; all other keys are the settings of that method."""

    model_config = ConfigDict(frozen=True, extra="allow")
    name: str = "distill"


class BackboneSettings(Settings):
    """The network that computes the feature map."""

    name: str = Field("torchvision/resnet50", description="<library>/<name>")
    weights: PathText = Field(
        "imagenet", description="`pretrained`, `imagenet`, `random`, or a file"
    )
    freeze_statistics: bool = Field(False, description="leave batch-norm statistics unchanged")
    frozen: float = Field(0, ge=0, lt=1, description="share of blocks, from the first, not trained")


Depth = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveShare = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class PoolingSettings(Settings):
    """How the exported encoder turns feature maps into an embedding."""

    kind: str = Field("auto", description="of fgembed.model.pooling; `auto`: the method's own")
    levels: tuple[Depth, ...] = Field(
        (0.72, 0.89),
        description="depths of inner levels read beside the last map, in shares of the blocks",
    )
    level_weight: PositiveShare = Field(0.5, description="of each inner level; the last has 1")
    mirror: bool = Field(True, description="average with the mirror image, in twice the time")
    whitening: int = Field(512, ge=0, description="output dimensions at most; 0 for none")
    shrinkage: Share = Field(
        3.0, description="of the whitening: added to each eigenvalue, x the mean of the kept ones"
    )
    mean_weight: Share = Field(
        1.0, description="of the last map's mean beside the whitened levels, which have 1"
    )
    larger: float = Field(
        1.4, ge=1, le=4, description="size of a second reading that the fit predicts, too; 1: none"
    )
    ridge: PositiveShare = Field(
        0.03, description="of the regression to both sizes, x the mean of the kept eigenvalues"
    )

    def of_the_floor(self) -> "PoolingSettings":
        """The pooling of the untouched start, with which a run is compared.

        That of the run if it reads inner levels, else the defaults with its fit; always whitened.
        """
        if not self.levels:
            fit = self.model_dump(include={"shrinkage", "mean_weight", "larger", "ridge"})
            return PoolingSettings(**fit)
        return self if self.whitening else self.model_copy(update={"whitening": 512})


class OptimiserSettings(Settings):
    """SGD with momentum under a cosine schedule (MoCo v2, arXiv:2003.04297), or AdamW."""

    name: Literal["sgd", "adamw"] = "sgd"
    epochs: int = Field(100, ge=0)
    batch_size: int = Field(128, ge=2)
    learning_rate: float = Field(0.03, gt=0)
    encoder_scale: float = Field(1.0, ge=0, description="learning rate of the encoder, relative")
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd")
    weight_decay: float = Field(1e-4, ge=0)
    warmup_epochs: float = Field(0, ge=0)
    log_every_step: bool = Field(False, description="else at most once a second")
    decay: Literal["step", "epoch"] = Field("step", description="how often the cosine moves")


class ViewSettings(Settings):
    """Random views of a training image (MoCo v2, arXiv:2003.04297)."""

    crop_scale: float = Field(0.2, gt=0, le=1, description="smallest crop, share of the area")
    turn: float = Field(0, ge=0, le=180, description="largest angle in the plane, in degrees")
    jitter: float = Field(0.4, ge=0, description="brightness, contrast, saturation")
    saturation: float = Field(1, ge=0, description="its jitter, in shares of `jitter`")
    hue: float = Field(0.1, ge=0, le=0.5)
    jitter_probability: float = Field(0.8, ge=0, le=1)
    grey_probability: float = Field(0.2, ge=0, le=1)
    blur_probability: float = Field(0.5, ge=0, le=1)
    flip_probability: float = Field(0.5, ge=0, le=1)
    side: float = Field(
        1,
        gt=0,
        le=1,
        description="of a view, in shares of preprocessing.size; a transformer's is always 1",
    )
    asymmetric: bool = Field(
        False,
        description="the two views of BYOL and MoCo v3: blur always in the first, in a tenth of "
        "the second, which may be solarised; saturation at half `jitter`",
    )
    solarise_probability: float = Field(0.2, ge=0, le=1, description="if `asymmetric`")


class EvaluationSettings(Settings):
    """Labelled folders (`<class>/<image>`) for the floor table; twice the same: leave-one-out."""

    gallery: PathText | None = None
    queries: PathText | None = None


class RunConfig(Settings):
    """All settings of a training run: saved with the run, they repeat it.

    Example:
        >>> config = RunConfig(images="photos", optimiser={"epochs": 20})
        >>> config.optimiser.epochs, config.optimiser.batch_size
        (20, 128)
    """

    images: PathText | None = Field(None, description="folder of training photographs")
    labels: PathText | None = Field(None, description="of a few images: class folders or a table")
    recipe: str | None = Field(None, description="the recipe that these settings started from")
    seed: int = Field(0, ge=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    workers: int = Field(2, ge=0, description="loader processes")
    threads: int = Field(0, ge=0, description="compute threads; 0 for one a core")
    max_bad: float = Field(0.5, ge=0, le=1, description="share of unreadable images allowed")
    include_clutter: bool = Field(
        False, description="read also hidden files and what systems and programs leave"
    )
    checkpoint_every_s: float = Field(300, gt=0, description="besides one every epoch")
    select: Literal["last", "holdout", "test"] = Field(
        "last",
        description="the epoch used: last, best on held-out images, or best on `eval` (biased)",
    )
    holdout_share: float = Field(0.1, gt=0, le=0.5, description="of the images, for holdout")
    things: Answers = Answers()
    method: MethodChoice = MethodChoice()
    backbone: BackboneSettings = BackboneSettings()
    preprocessing: Preprocessing = Preprocessing()
    pooling: PoolingSettings = PoolingSettings()
    optimiser: OptimiserSettings = OptimiserSettings()
    views: ViewSettings = ViewSettings()
    eval: EvaluationSettings = EvaluationSettings()

    @model_validator(mode="after")
    def _check_evaluation(self) -> Self:
        if (self.eval.gallery is None) != (self.eval.queries is None):
            raise ValueError("eval needs both `gallery` and `queries`, or neither; set both")
        if self.select == "test" and self.eval.queries is None:
            raise ValueError("select = 'test' needs eval.gallery and eval.queries; set them")
        return self


Model = TypeVar("Model", bound=BaseModel)


def validate(model: type[Model], value: Any, where: str) -> Model:
    """The settings `value` as an instance of `model`.

    Args:
        model: the class of settings.
        value: nested tables.
        where: the file or option that they come from, for the message.

    Raises:
        ConfigError: a key is unknown or a value is out of range; the message names the first one.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        fact, remedy = _explain(error, model)
        raise ConfigError(f"{where}: {fact}", remedy) from None


def config_text(config: RunConfig) -> str:
    """The resolved settings as TOML; reading them back gives the same run."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


def write_config(file: Path, config: RunConfig) -> None:
    """Writes `config_text` with a checksum, as the settings of a run."""
    write_sealed_toml(file, config_text(config))


def read_config(file: Path) -> RunConfig:
    """The settings of a run, as `write_config` wrote them or as a user declared them edited.

    A run from before `preprocessing.version` or the fitted reading goes on as it was.

    Raises:
        IntegrityError: the file differs from its checksum.
        ConfigError: an edited setting is unknown or out of range.
    """
    settings = read_sealed_toml(file, "file of settings")
    for name, missing in OF_EARLIER_RUNS.items():
        if isinstance(settings.get(name), dict):
            settings[name] = missing | settings[name]
    return validate(RunConfig, settings, str(file.parent))


def _explain(error: ValidationError, model: type[BaseModel]) -> tuple[str, str]:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        keys = _keys_of_table(model, first["loc"][:-1])
        return f"unknown key {key!r}", nearest(str(first["loc"][-1]), keys)
    message = first["msg"].removeprefix("Value error, ")
    fact, _, remedy = f"{message[:1].lower()}{message[1:]}".partition("; ")
    if isinstance(first["input"], str | int | float):
        fact += f", got {first['input']!r}"
    remedy = remedy or "correct the value, or leave the key out for its default"
    return f"{key}: {fact}" if key else fact, remedy


def _keys_of_table(model: Any, tables: Iterable[Any]) -> list[str]:
    for name in tables:
        if isinstance(name, int):  # the place in a list
            model = get_args(model)[0]
        elif (field := getattr(model, "model_fields", {}).get(name)) is not None:
            model = field.annotation
    fields = getattr(model, "model_fields", None)
    return list(model.__dataclass_fields__ if fields is None else fields)
