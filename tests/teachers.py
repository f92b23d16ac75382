"""A real open_clip model, small enough for tests, with weights that the tests make."""

import json
import tempfile
from functools import cache
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file

TINY_TEACHER = "fgembed-tests-tiny"
SHAPE = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "patch_size": 16, "head_width": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@cache
def tiny_teacher() -> dict[str, str]:
    """The settings that choose it: its name and a file of its weights."""
    folder = Path(tempfile.mkdtemp(prefix="fgembed-teacher-"))
    (folder / f"{TINY_TEACHER}.json").write_text(json.dumps(SHAPE))
    open_clip.add_model_config(folder)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = open_clip.create_model(TINY_TEACHER, pretrained=None)
    file = folder / "weights.safetensors"
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, file)
    return {"teacher": TINY_TEACHER, "teacher_weights": str(file)}
