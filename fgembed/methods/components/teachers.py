"""Frozen CLIP teachers from open_clip, and the corpus of descriptions that they compare with.

A teacher is no submodule of its method: it is in no checkpoint, no bundle and no optimiser.
"""

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2

from fgembed.backbones.weights import read_weights
from fgembed.disk.files import read_toml
from fgembed.errors import ConfigError, NotFoundError

WEIGHTS_REMEDY = "set method.teacher_weights to the file"


class ClipTeacher:
    """A frozen image and text tower: how similar is an image to each description?

    Args:
        model: of open_clip, with an image and a text tower.
        tokenizer: its tokenizer.
        descriptions: sentences by name.

    Attributes:
        texts: T, (S, D) unit vectors of the descriptions.
        scale: s, the model's logit scale, 100 for OpenAI's.
    """

    def __init__(self, model: Any, tokenizer: Any, descriptions: Mapping[str, str]) -> None:
        self.model = model.requires_grad_(False).eval()
        size = self.model.visual.image_size
        side = size if isinstance(size, int) else size[0]
        preprocessing = self.model.visual.preprocess_cfg
        self.resize = v2.Resize((side, side), v2.InterpolationMode.BICUBIC, antialias=True)
        self.mean = torch.tensor(preprocessing["mean"]).view(1, 3, 1, 1)
        self.std = torch.tensor(preprocessing["std"]).view(1, 3, 1, 1)
        with torch.no_grad():
            texts = self.model.encode_text(tokenizer(list(descriptions.values())))
            self.texts = F.normalize(texts.float(), dim=1)
            self.scale = float(self.model.logit_scale.exp())

    @torch.no_grad()
    def similarity(self, pixels: Tensor, *, normalised: bool = False) -> Tensor:
        """The distribution p = softmax(s v . T) over descriptions, (B, S), in float32.

        v is the image tower's unit vector. Zero-shot classification of CLIP, arXiv:2103.00020.

        Args:
            pixels: (B, 3, H, W) in [0, 1]; resized and normalised as the teacher needs it.
            normalised: whether they are normalised already; then they are only resized.
        """
        self._move_to(pixels.device)
        with torch.autocast(pixels.device.type, enabled=False):
            images = self.resize(pixels.float())
            if not normalised:
                images = (images.clamp(0, 1) - self.mean) / self.std
            vectors = F.normalize(self.model.encode_image(images).float(), dim=1)
            return torch.softmax(self.scale * vectors @ self.texts.T, dim=1)

    def _move_to(self, device: torch.device) -> None:
        if self.texts.device != device:
            self.model.to(device)
            self.mean, self.std = self.mean.to(device), self.std.to(device)
            self.texts = self.texts.to(device)


def load_teacher(name: str, weights: str, corpus: str | None) -> ClipTeacher:
    """An open_clip model as a frozen teacher.

    Args:
        name: `model:tag` of open_clip, such as `ViT-B-32:openai`. A file of weights needs its
            tag, too, because the tag decides on QuickGELU.
        weights: `pretrained`, the weights published under the tag, or a file.
        corpus: a TOML file of descriptions; None for the built-in one.

    Raises:
        ConfigError: there is no such model or tag, the weights do not fit it, or the corpus is
            invalid.
        NotFoundError: the weights are neither in the cache nor can they be downloaded.
        MissingExtraError: open_clip is not installed.
    """
    descriptions = read_corpus(corpus)
    from fgembed.backbones import from_open_clip as library

    library.model_settings(name)  # refuses an unknown name before anything is downloaded
    if weights == "pretrained":
        state = library.published_checkpoint(name, WEIGHTS_REMEDY)
        source, remedy = f"the file published as {name}", "choose another method.teacher"
    else:
        state = read_weights(Path(weights))
        source, remedy = weights, "set method.teacher to the model:tag that the file belongs to"
    model = library.untrained_model(name)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{source} does not fit teacher {name}: {reason}", remedy) from None
    return ClipTeacher(model, _tokenizer(library.split_tag(name)[0]), descriptions)


def read_corpus(file: str | None) -> dict[str, str]:
    """The descriptions by name: the table `descriptions` of a TOML file, or the built-in ones.

    Raises:
        ConfigError: the table is missing, holds fewer than two entries, or one is no sentence.
        NotFoundError: the file does not exist.

    Example:
        >>> read_corpus(None)["snake"]
        'a long legless animal covered with scales'
    """
    if file is None:
        content = tomllib.loads(
            files("fgembed.methods.components").joinpath("corpus.toml").read_text("utf-8")
        )
    elif not Path(file).is_file():
        raise NotFoundError(f"no corpus at {file}", "give a TOML file with a table [descriptions]")
    else:
        content = read_toml(Path(file))
    table = content.get("descriptions")
    if not isinstance(table, dict) or len(table) < 2:
        raise ConfigError(
            f"{file} holds no corpus, expected a table [descriptions] of two or more sentences",
            "add them, or leave out method.corpus for the built-in corpus",
        )
    for name, sentence in table.items():
        if not isinstance(sentence, str) or not sentence.strip():
            raise ConfigError(
                f"{file}: description {name!r} is {sentence!r}, expected a sentence",
                'write it in quotes, such as "a metal bolt"',
            )
    return dict(table)


def _tokenizer(name: str) -> Any:
    import open_clip

    try:
        return open_clip.get_tokenizer(name)
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise NotFoundError(
            f"cannot get the tokenizer of teacher {name} ({reason})",
            "choose a teacher with CLIP's own tokenizer, such as ViT-B-32",
        ) from None
