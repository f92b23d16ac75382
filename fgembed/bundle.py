"""The exported bundle: a folder in Hugging Face hub layout, with checksums.

- `config.json`: describes the model; holds the SHA-256 of the other files and of itself
- `preprocessor_config.json`: the preprocessing under the names that other tools read
- `model.safetensors`, `encoder.json`: the weights and the structure of the torch encoder
- `onnx/model.onnx`: uint8 image (B, H, W, 3) -> embedding (B, D), rationale (B, h, w)
- `onnx/model_fp16.onnx`, `onnx/model_quantized.onnx`: the same in fewer bits, if requested
- `parity.json`: how closely ONNX Runtime agrees with torch, for each of these files
- `.cache`: graphs that ONNX Runtime has optimised for this machine; no part of the bundle
- `README.md`: the model card, which may be edited
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from fgembed.disk.files import check_files, digest, restore_or_repeat
from fgembed.disk.foreign import refuse_foreign
from fgembed.disk.json_records import record
from fgembed.disk.sealed_files import read_sealed_json, write_sealed_json
from fgembed.errors import IntegrityError, NotFoundError
from fgembed.images.preprocessing import Preprocessing

BUNDLE_FORMAT = 2
UNSEALED_FORMAT = 1  # like 2, without a checksum of `config.json`
MODEL_TYPE = "fgembed"
CONFIG_FILE = "config.json"
MODEL_FILE = "onnx/model.onnx"
MODEL_FILES = {
    "fp32": MODEL_FILE,
    "fp16": "onnx/model_fp16.onnx",
    "int8": "onnx/model_quantized.onnx",
}
WEIGHTS_FILE = "model.safetensors"
ENCODER_FILE = "encoder.json"
CARD_FILE = "README.md"
CACHE = ".cache"  # can be deleted at any time
FILES = (  # what a bundle folder may hold
    CONFIG_FILE,
    "preprocessor_config.json",
    WEIGHTS_FILE,
    ENCODER_FILE,
    "onnx",
    "parity.json",
    CARD_FILE,
    CACHE,
    ".gitattributes",  # of a repository on the hub
)
EXPORT = "fgembed export --onnx"
NOT_A_BUNDLE = f'give a folder that "{EXPORT}" wrote'


@dataclass(frozen=True)
class BundleConfig:
    """The content of `config.json`.

    Attributes:
        backbone: `<library>/<name>`.
        method: the training method; `none` is the untouched start.
        pooling: kind of pooling.
        rationale: `learned` by the method, or the `activation` strength of the feature map.
        dimensions: D of an embedding.
        opset: of the ONNX graph.
        preprocessing: how an image becomes the input of the graph.
        source_run: the run folder it was exported from, relative to the bundle.
        files: SHA-256 of every other file but the model card, by name.
    """

    backbone: str
    method: str
    pooling: str
    rationale: str
    dimensions: int
    opset: int
    preprocessing: dict[str, Any]
    source_run: str
    files: dict[str, str]

    def write(self, folder: Path) -> None:
        """Writes `config.json` into a bundle folder, with its own checksum."""
        write_sealed_json(folder / CONFIG_FILE, self.to_json())

    def to_json(self) -> dict[str, Any]:
        """The JSON object with its type and format version."""
        return {"model_type": MODEL_TYPE, "format": BUNDLE_FORMAT} | asdict(self)

    @property
    def fingerprint(self) -> str:
        """Digest of weights and preprocessing, the same for each precision: binds an index."""
        return digest([self.files[WEIGHTS_FILE], self.preprocessing])


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk and one of its models.

    Attributes:
        folder: the bundle's folder.
        config: the content of its `config.json`.
        preprocessing: how an image becomes the model's input.
        precision: which of its models, a key of `MODEL_FILES`.

    Example:
        bundle = Bundle.open(Path("bundle"), "fp16")
        session = onnxruntime.InferenceSession(bundle.model)
    """

    folder: Path
    config: BundleConfig
    preprocessing: Preprocessing
    precision: str = "fp32"

    @classmethod
    def open(cls, folder: Path, precision: str = "fp32", *, every_file: bool = False) -> Self:
        """Opens a bundle and checks the model's checksum, or that of every file.

        Raises:
            NotFoundError: there is no bundle, or it has no model of that precision.
            IntegrityError: it is damaged, foreign, or of an unknown format.
        """
        bundle = cls.read(folder, precision)
        bundle.check(every_file=every_file)
        return bundle

    @classmethod
    def read(cls, folder: Path, precision: str = "fp32") -> Self:
        """Reads `config.json` only; `check` compares the checksums.

        Raises:
            NotFoundError: there is no bundle, or it has no model of that precision.
            IntegrityError: it is foreign, or of an unknown format.
        """
        file = folder / CONFIG_FILE
        if not file.is_file():
            if folder.is_dir() and any(folder.iterdir()):
                raise IntegrityError(
                    f"{folder} is no fgembed bundle: it has no {CONFIG_FILE}", NOT_A_BUNDLE
                )
            raise NotFoundError(f"no bundle at {folder}", f'make one with "{EXPORT}"')
        config = _parse(read_sealed_json(file, "bundle file", {BUNDLE_FORMAT}, EXPORT), folder)
        if MODEL_FILES.get(precision) not in config.files:
            raise NotFoundError(
                f"{folder} has no {precision} model",
                f'export it with "{EXPORT} --precision fp32,{precision}"',
            )
        preprocessing = Preprocessing.from_json(config.preprocessing, folder)
        return cls(folder, config, preprocessing, precision)

    def check(self, *, every_file: bool = False) -> None:
        """Compares the model or every file with its checksum.

        Raises:
            IntegrityError: a file is damaged or missing.
        """
        files = self.config.files
        model = MODEL_FILES[self.precision]
        checked = {name for name in files if name != CARD_FILE} if every_file else {model}
        files = {name: files[name] for name in sorted(checked)}
        check_files(self.folder, files, "bundle", EXPORT)

    @property
    def model(self) -> Path:
        """The ONNX file of the precision."""
        return self.folder / MODEL_FILES[self.precision]

    @property
    def source_run(self) -> Path:
        """The run folder it was exported from, which need not exist any more."""
        return self.folder.resolve() / self.config.source_run

    @property
    def optimised_graphs(self) -> Path:
        """Path prefix of the cached ONNX files, in which the model is optimised for a CPU."""
        return self.folder / CACHE / self.config.files[MODEL_FILES[self.precision]][:16]


def refuse_other_than_bundle(target: Path) -> None:
    """Refuses a path that a new bundle must not replace.

    Raises:
        FgembedError: `target` is a file, or a folder that holds anything but a bundle.
    """
    # The names are common: a folder that holds only a README.md is not ours.
    names = FILES if (target / CONFIG_FILE).is_file() else ()
    refuse_foreign(target, names, "a bundle", (CONFIG_FILE, MODEL_TYPE))


def _parse(content: dict[str, Any], folder: Path) -> BundleConfig:
    if content.pop("model_type", None) != MODEL_TYPE:
        raise IntegrityError(
            f"{folder} is no fgembed bundle: its model_type is not {MODEL_TYPE!r}", NOT_A_BUNDLE
        )
    version = content.pop("format", None)
    if version not in (BUNDLE_FORMAT, UNSEALED_FORMAT):
        raise IntegrityError(
            f"{folder} is a bundle of format {version!r}, this fgembed reads {BUNDLE_FORMAT}",
            f'export it again with "{EXPORT}"',
        )
    try:
        config = record(BundleConfig, content)
        if config.dimensions < 1:
            raise ValueError(f"dimensions {config.dimensions}")
        for name in (MODEL_FILE, WEIGHTS_FILE):
            if name not in config.files:
                raise ValueError(f"no checksum of {name}")
    except ValueError as error:
        raise IntegrityError(
            f"bundle file {folder / CONFIG_FILE} is damaged: {error}", restore_or_repeat(EXPORT)
        ) from None
    return config
