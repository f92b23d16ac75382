"""What every method in the table promises; a new method is tested as soon as it is listed."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from fgembed.backbones import make_backbone
from fgembed.config import OptimiserSettings, ViewSettings, validate
from fgembed.data.loading import TrainingImages
from fgembed.errors import ConfigError
from fgembed.images.finding import find_images
from fgembed.images.preprocessing import Preprocessing
from fgembed.methods.base import Method
from fgembed.methods.components.momentum import update_keys
from fgembed.methods.table import METHODS, method_named
from fgembed.model.encoder import Encoder
from fgembed.model.pooling import POOLINGS, make_pooling
from fgembed.training.dry_run import count_parameters
from fgembed.training.optimiser import make_optimisers
from fgembed.training.resuming.checkpoint import Position, load_state, save_state
from fgembed.training.resuming.fingerprint import Fingerprint
from fgembed.workspace import RunFolder
from tests.conftest import TINY, TINY_VIT
from tests.teachers import tiny_teacher

SMALL = {"queue_size": 8, "dimensions": 16, "hidden": 32}
SIDE = 32


def make(name: str, seed: int = 0, kind: str | None = None, **settings: object) -> Method:
    torch.manual_seed(seed)
    method_class = method_named(name)
    values = SMALL | tiny_teacher() | settings
    accepted = {key: values[key] for key in values if key in method_class.Config.model_fields}
    backbone = make_backbone(TINY_VIT if method_class.needs_attention else TINY, size=SIDE)
    kind = kind or method_class.pooling_for(backbone)
    encoder = Encoder(backbone, make_pooling(kind, backbone.channels))
    method = method_class(encoder, method_class.Config.model_validate(accepted))
    method.progress = 0.5  # past a warm-up, where every term is on
    if method.takes_targets:
        generator = torch.Generator().manual_seed(7)
        method.take_targets(F.normalize(torch.randn(24, 12, generator=generator), dim=1))
    return method


def batch(method: Method, photos: Any, count: int = 4) -> list[torch.Tensor]:
    spec = Preprocessing(size=SIDE)
    paths, _ = find_images(photos / "train")
    images = TrainingImages(paths, type(method).view_maker(ViewSettings(), spec), spec, seed=0)
    samples = [images[0, index] for index in range(count)]
    return [torch.stack(view) for view in zip(*samples, strict=True)]


def total(terms: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.stack(list(terms.values())).sum()


@pytest.fixture(params=sorted(METHODS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def trains(name: str) -> bool:
    return bool(make(name).parameter_groups())


def test_the_loss_is_finite_and_reaches_every_parameter_to_be_trained(name: str, photos: Any):
    method = make(name).train()
    terms = method(batch(method, photos))
    if not trains(name):
        assert terms == {}
        return
    loss = total(terms)
    loss.backward()  #
    assert torch.isfinite(loss)
    for group in method.parameter_groups():
        for parameter in group["params"]:
            assert parameter.grad is not None
            assert torch.isfinite(parameter.grad).all()


def test_keys_share_no_tensor_with_their_queries(name: str):
    for query, key in make(name).momentum_pairs():
        pointers = {value.data_ptr() for value in query.state_dict().values()}
        assert not pointers & {value.data_ptr() for value in key.state_dict().values()}
        assert not any(parameter.requires_grad for parameter in key.parameters())


def test_no_gradient_reaches_a_key(name: str, photos: Any):
    method = make(name).train()
    if trains(name):
        total(method(batch(method, photos))).backward()  #
    for _, key in method.momentum_pairs():
        assert all(parameter.grad is None for parameter in key.parameters())


def test_keys_follow_the_query_and_the_query_no_key(name: str):
    method = make(name)
    for query, key in method.momentum_pairs():
        with torch.no_grad():
            for parameter in query.parameters():
                parameter.add_(1.0)
        queries = copy.deepcopy(query.state_dict())
        before = [parameter.clone() for parameter in key.parameters()]
        update_keys([(query, key)], 0.75)
        torch.testing.assert_close(dict(query.state_dict()), dict(queries))
        for old, new in zip(before, key.parameters(), strict=True):
            torch.testing.assert_close(new, old + 0.25)


def test_every_key_module_follows_a_query(name: str):
    """A key that is in no pair would stay at its start."""
    method = make(name)
    before = {n: p.clone() for n, p in method.named_parameters() if n.startswith("key_")}
    with torch.no_grad():
        for parameter_name, parameter in method.named_parameters():
            if not parameter_name.startswith("key_"):
                parameter.add_(1.0)
    update_keys(method.momentum_pairs(), 0.5)
    after = dict(method.named_parameters())
    assert all(not torch.equal(after[n], value) for n, value in before.items())


def test_every_parameter_is_counted_once_by_a_dry_run(name: str):
    method = make(name)
    counted = count_parameters(method)
    total = sum(parameter.numel() for parameter in method.parameters())
    parts = (
        counted.encoder,
        counted.heads,
        counted.separate_adam,
        counted.key_copies,
        counted.fixed,
    )
    assert sum(parts) == total


def test_the_same_seed_gives_the_same_losses(name: str, photos: Any):
    losses = []
    for _ in range(2):
        method = make(name, seed=3).train()
        losses.append({k: v.item() for k, v in method(batch(method, photos)).items()})
    assert losses[0] == losses[1]


def test_an_embedding_ignores_the_rest_of_its_batch_and_has_unit_length(name: str):
    encoder = make(name).encoder.eval()
    images = torch.randn(64, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    images[32:] *= 30
    with torch.no_grad():
        together = encoder(images)
        alone = torch.cat([encoder(images[i : i + 1]) for i in range(64)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(64))


def test_a_state_round_trip_gives_the_same_next_loss(name: str, photos: Any):
    first, second = make(name, seed=1).train(), make(name, seed=2).train()
    views = batch(first, photos)
    first(views)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    torch.manual_seed(0)
    expected = {key: value.item() for key, value in first(views).items()}
    torch.manual_seed(0)
    assert {key: value.item() for key, value in second(views).items()} == expected


def poolings(name: str) -> list[str]:
    """Those that the method may be read by and that have weights to save, and its own."""
    method_class = method_named(name)
    kinds = [kind for kind, p in POOLINGS.items() if issubclass(p, method_class.trained_poolings)]
    return kinds or [make(name).encoder.pooling.kind]


def test_a_state_on_disk_gives_the_method_back_under_every_pooling(name: str, tmp_path: Path):
    for kind in poolings(name):
        extra = {"use_projector": False, "hidden": 4096} if kind == "predictor" else {}
        first, second = (make(name, seed, kind, **extra) for seed in (1, 2))
        optimisers = [make_optimisers(method, OptimiserSettings()) for method in (first, second)]
        run, position = RunFolder(tmp_path / kind), Position(3, Fingerprint({"seed": 1}, "images"))
        save_state(run, first, optimisers[0], position)
        assert load_state(run, second, optimisers[1]) == position
        torch.testing.assert_close(dict(second.state_dict()), dict(first.state_dict()))


def test_an_unknown_setting_is_refused(name: str):
    with pytest.raises(ConfigError, match="unknown key 'weigth'"):
        validate(method_named(name).Config, {"weigth": 1}, "settings")


@pytest.mark.slow
def test_the_exported_graph_equals_torch(name: str, tmp_path: Any):
    from fgembed.embedding.onnx_embedder import OnnxEmbedder
    from fgembed.export.parity import measure_parity
    from fgembed.export.to_onnx import write_onnx
    from fgembed.model.encoder import PixelEncoder

    spec = Preprocessing(size=SIDE)
    encoder = make(name).encoder.eval()
    write_onnx(encoder, spec, tmp_path / "model.onnx")
    pixels = torch.randint(0, 256, (40, SIDE, SIDE, 3), dtype=torch.uint8).numpy()
    embedder = OnnxEmbedder(tmp_path / "model.onnx", spec, "cpu")
    measure_parity(PixelEncoder(encoder, spec).eval(), embedder, pixels).enforce()
