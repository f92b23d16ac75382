"""Frozen CLIP teachers from open_clip, and the corpus of descriptions that they compare with.

A teacher is held beside a method, not in it: it is in no checkpoint, no bundle and no optimiser.
"""

import logging
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms import v2

from fgembed.backbones.weights import read_weights
from fgembed.config import nearest
from fgembed.errors import ConfigError, MissingExtraError, NotFoundError
from fgembed.files import read_toml


class ClipTeacher:
    """A frozen image and text tower: how alike are a picture and each description?

    Attributes:
        texts: (S, D) unit vectors of the descriptions.
        scale: the model's own logit scale, 100 for OpenAI's.
    """

    def __init__(self, model: Any, tokenizer: Any, descriptions: Mapping[str, str]) -> None:
        self.model = model.requires_grad_(False).eval()
        size = self.model.visual.image_size
        side = size if isinstance(size, int) else size[0]
        given = self.model.visual.preprocess_cfg
        self.resize = v2.Resize((side, side), v2.InterpolationMode.BICUBIC, antialias=True)
        self.mean = torch.tensor(given["mean"]).view(1, 3, 1, 1)
        self.std = torch.tensor(given["std"]).view(1, 3, 1, 1)
        with torch.no_grad():
            texts = self.model.encode_text(tokenizer(list(descriptions.values())))
            self.texts = F.normalize(texts.float(), dim=1)
            self.scale = float(self.model.logit_scale.exp())

    @torch.no_grad()
    def likeness(self, pixels: Tensor, *, normalised: bool = False) -> Tensor:
        """softmax(scale x picture . description) over descriptions: (B, S), in float32.

        Args:
            pixels: (B, 3, H, W) in [0, 1]; brought to the teacher's own size and normalisation.
            normalised: they are normalised already, and are left so.
        """
        self._move_to(pixels.device)
        with torch.autocast(pixels.device.type, enabled=False):
            pictures = self.resize(pixels.float())
            if not normalised:
                pictures = (pictures.clamp(0, 1) - self.mean) / self.std
            images = F.normalize(self.model.encode_image(pictures).float(), dim=1)
            return torch.softmax(self.scale * images @ self.texts.T, dim=1)

    def _move_to(self, device: torch.device) -> None:
        if self.texts.device != device:
            self.model.to(device)
            self.mean, self.std = self.mean.to(device), self.std.to(device)
            self.texts = self.texts.to(device)


def load_teacher(name: str, weights: str, corpus: str | None) -> ClipTeacher:
    """An open_clip model as a frozen teacher.

    Args:
        name: of open_clip, such as `ViT-B-32`.
        weights: one of its published tags, or a `.safetensors` or `.pt` file.
        corpus: a TOML file of descriptions; None for the one that comes with fgembed.

    Raises:
        ConfigError: there is no such model or tag, or the corpus is not one.
        NotFoundError: the weights can be neither found nor downloaded.
        MissingExtraError: open_clip is not installed.
    """
    descriptions = read_corpus(corpus)
    try:
        import open_clip
    except ImportError:
        raise MissingExtraError("the CLIP teacher", "open_clip_torch", "train") from None
    if name not in open_clip.list_models():
        raise ConfigError(f"no teacher {name!r}{nearest(name, open_clip.list_models())}")
    if Path(weights).suffix in (".safetensors", ".pt", ".pth", ".bin"):
        logging.disable(logging.WARNING)  # open_clip warns that there are no weights yet
        try:
            model = open_clip.create_model(name, pretrained=None)
        finally:
            logging.disable(logging.NOTSET)
        _load_file(model, Path(weights), name)
    else:
        model = _download(name, weights)
    return ClipTeacher(model, _tokenizer(name), descriptions)


def read_corpus(file: str | None) -> dict[str, str]:
    """The descriptions by name: the table `descriptions` of a TOML file.

    Raises:
        ConfigError: the table is missing, or holds fewer than two sentences.
        NotFoundError: there is no such file.
    """
    if file is None:
        content = tomllib.loads(files("fgembed").joinpath("corpus.toml").read_text("utf-8"))
    elif not Path(file).is_file():
        raise NotFoundError(f"no corpus at {file}; give a TOML file with a table [descriptions]")
    else:
        content = read_toml(Path(file))
    table = content.get("descriptions")
    if not isinstance(table, dict) or len(table) < 2:
        raise ConfigError(f"{file} holds no corpus; expected a table [descriptions] of two or more")
    for name, sentence in table.items():
        if not isinstance(sentence, str) or not sentence.strip():
            raise ConfigError(f"{file}: description {name!r} is {sentence!r}, expected a sentence")
    return dict(table)


def _load_file(model: nn.Module, file: Path, name: str) -> None:
    state = read_weights(file)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{file} does not fit teacher {name}: {reason}") from None


def _download(name: str, tag: str) -> nn.Module:
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(name)
    if tag not in tags:
        raise ConfigError(
            f"teacher {name} has no published weights {tag!r}{nearest(tag, tags)} "
            "(or give a .safetensors or .pt file)"
        )
    try:
        model: nn.Module = open_clip.create_model(name, pretrained=tag)
    except Exception as error:  # the hub's own errors, urllib's, and OSError by what fails
        source = open_clip.get_pretrained_cfg(name, tag) or {}
        wanted = source.get("url") or f"https://huggingface.co/{source.get('hf_hub', '')}"
        reason = " ".join(str(error).split())[:120]
        raise NotFoundError(
            f"cannot download teacher {name} with weights {tag!r} ({reason}); fetch {wanted} "
            "elsewhere and set method.teacher_weights to the file"
        ) from None
    return model


def _tokenizer(name: str) -> Any:
    import open_clip

    try:
        return open_clip.get_tokenizer(name)
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise NotFoundError(
            f"cannot get the tokenizer of teacher {name} ({reason}); choose a teacher with CLIP's "
            "own tokenizer, such as ViT-B-32"
        ) from None
