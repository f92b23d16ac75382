"""The frozen teacher: similarity by value, its corpus, and its refusals."""

import socket
from pathlib import Path

import open_clip
import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms import v2

from fgembed.errors import ConfigError, IntegrityError, NotFoundError
from fgembed.methods.components.teachers import load_teacher, read_corpus
from tests.teachers import TINY_TEACHER, tiny_teacher


def weights() -> str:
    return tiny_teacher()["teacher_weights"]


def test_similarity_is_clip_s_zero_shot_softmax_in_float32():
    teacher = load_teacher(TINY_TEACHER, weights(), None)
    pixels = torch.rand(3, 3, 48, 48)
    model = open_clip.create_model(TINY_TEACHER, pretrained=None).eval()
    model.load_state_dict(teacher.model.state_dict())
    sentences = list(read_corpus(None).values())
    resized = v2.Resize((32, 32), v2.InterpolationMode.BICUBIC, antialias=True)(pixels).clamp(0, 1)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)
    with torch.no_grad():
        image = F.normalize(model.encode_image((resized - mean) / std), dim=1)
        text = F.normalize(model.encode_text(open_clip.tokenize(sentences)), dim=1)
        expected = (model.logit_scale.exp() * image @ text.T).softmax(dim=1)
    similarity = teacher.similarity(pixels)
    torch.testing.assert_close(similarity, expected)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(teacher.similarity(pixels), expected)
    assert similarity.shape == (3, 8)


def test_the_built_in_corpus_describes_eight_kinds_and_aircraft_among_them():
    corpus = read_corpus(None)
    assert len(corpus) == 8
    assert "aircraft" in corpus


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"holds no corpus, expected a table \[descriptions\] .*; add them, or leave out"),
        ('[descriptions]\none = "only one"', "of two or more sentences; add them"),
        (
            '[descriptions]\none = "a"\ntwo = 3',
            "'two' is 3, expected a sentence; write it in quotes",
        ),
        (
            '[descriptions]\none = "a"\ntwo = " "',
            "'two' is ' ', expected a sentence; write it in quotes",
        ),
    ],
)
def test_a_corpus_that_is_none_is_refused(text: str, message: str, tmp_path: Path):
    file = tmp_path / "corpus.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_corpus(str(file))


def test_a_missing_corpus_is_named(tmp_path: Path):
    with pytest.raises(NotFoundError, match=r"none\.toml"):
        read_corpus(str(tmp_path / "none.toml"))


def test_unknown_teachers_and_weights_are_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="no open_clip/ViT-B-33; did you mean 'ViT-B-32'"):
        load_teacher("ViT-B-33:openai", "pretrained", None)
    with pytest.raises(ConfigError, match="no weights 'opeanai'; give one of ViT-B-32:openai"):
        load_teacher("ViT-B-32:opeanai", "pretrained", None)
    with pytest.raises(ConfigError, match="names no published weights; give one of ViT-B-32:"):
        load_teacher("ViT-B-32", "pretrained", None)
    with pytest.raises(ConfigError, match=r"none are published, so set method\.teacher_weights to"):
        load_teacher(tiny_teacher()["teacher"], "pretrained", None)
    with pytest.raises(NotFoundError, match="no weights at"):
        load_teacher(TINY_TEACHER, str(tmp_path / "none.pt"), None)
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(IntegrityError, match="cannot read weights"):
        load_teacher(TINY_TEACHER, str(tmp_path / "bad.safetensors"), None)
    torch.save({"logit_scale": torch.zeros(())}, tmp_path / "other.pt")
    with pytest.raises(
        ConfigError,
        match=f"other.pt does not fit teacher {TINY_TEACHER}: .*; set method.teacher to",
    ):
        load_teacher(TINY_TEACHER, str(tmp_path / "other.pt"), None)


def test_a_teacher_with_a_text_tower_that_cannot_be_built_is_refused(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("open_clip.hf_model.transformers", None)
    with pytest.raises(ConfigError, match="teacher roberta-ViT-B-32 cannot be built"):
        load_teacher("roberta-ViT-B-32", weights(), None)


def test_without_a_network_the_error_names_the_file_to_fetch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    attempts: list[int] = []

    def no_network(*_: object) -> None:
        attempts.append(1)
        raise socket.gaierror("no network in this test")

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("socket.getaddrinfo", no_network)
    with pytest.raises(NotFoundError, match=r"download https://\S+safetensors .*teacher_weights"):
        load_teacher("ViT-B-32:openai", "pretrained", None)
    assert len(attempts) <= 2  # by default, the hub's client retries for a minute
