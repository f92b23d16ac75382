"""SynPair (arXiv:2407.14676) against its formulas in loops, and its three terms by value."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from fgembed.backbones import make_backbone
from fgembed.config import ViewSettings
from fgembed.methods.synpair import SynPair, code_gradient, code_of, ramp
from fgembed.model.encoder import Encoder
from fgembed.model.pooling import GeMPooling
from fgembed.resolve import read_recipe
from tests.conftest import TINY


def synpair(seed: int = 0, progress: float = 1.0, **settings: object) -> SynPair:
    """Past its warm-up, without the light views unless requested."""
    torch.manual_seed(seed)
    small = {"queue_size": 8, "dimensions": 16, "bank_size": 32, "augment": False}
    config = SynPair.Config.model_validate(small | settings)
    method = SynPair(Encoder(make_backbone(TINY), GeMPooling()), config)
    method.bank.enqueue(torch.rand(20, 64))
    method.progress = progress
    return method


def views(batch: int = 4, seed: int = 0, side: int = 32) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, 3, side, side, generator=generator) for _ in range(2)]


def contrast_of(method: SynPair, code: torch.Tensor, key: torch.Tensor, queue: torch.Tensor) -> Any:
    """InfoNCE of codes, with loops."""
    total = torch.zeros((), dtype=code.dtype)
    for b in range(len(code)):
        query = F.normalize(method.projector(code[b : b + 1]), dim=1)[0]
        logits = torch.stack([query @ key[b], *(query @ old for old in queue)]) / 0.2
        total = total - logits[0] + logits.logsumexp(0)
    return total / len(code)


def written_out(method: SynPair, images: list[torch.Tensor], noise: torch.Tensor) -> list[float]:
    """The three terms of a step in evaluation mode, the Gaussian draws given."""
    queue, config = method.queue.vectors.clone(), method.config
    with torch.no_grad():
        code = method.encoder.backbone(images[0]).mean(dim=(2, 3))
        key = F.normalize(method.key_projector(method.key_backbone(images[1]).mean((2, 3))))
        rows = torch.cat([method.bank.rows(), code])
    code.requires_grad_()
    contrast = contrast_of(method, code, key, queue)
    (gradient,) = torch.autograd.grad(contrast, code)
    with torch.no_grad():
        units = torch.stack([row / row.norm() for row in rows])
        sigma = units.std(dim=0, unbiased=False)
        low = sigma <= torch.quantile(sigma, config.variance_share)
        spread = sum(float(rows[:, k].std(unbiased=False)) for k in range(64)) / 64
        moved = code.detach().clone()
        for b in range(len(code)):
            c = (code[b] * gradient[b]).abs()
            for k in range(64):
                if low[k] or c[k] <= torch.quantile(c, config.importance_share):
                    step = config.noise_scale * spread * noise[b, k]
                    moved[b, k] = max(0.0, float(code[b, k] + step))
        decoded, changed = (method.decoder(h, (32, 32)) for h in (code, moved))
        again = method.encoder.backbone(changed).mean(dim=(2, 3))
        pooled = method.key_backbone(decoded).mean(dim=(2, 3))
        pair = contrast_of(method, again, F.normalize(method.key_projector(pooled)), queue)
        error = sum(float((decoded[b] - images[0][b]).square().sum()) for b in range(len(code)))
    return [float(contrast.detach()), error / decoded.numel(), float(pair)]


def test_the_three_terms_equal_the_formulas_written_out():
    method, images = synpair(noise_scale=2.0).eval(), views()
    with torch.no_grad():  # keys unlike queries, decoded images unlike perturbed ones
        next(method.key_projector.parameters()).add_(0.1 * torch.randn(64, 64))
        next(method.decoder.seed.parameters()).mul_(50)
    torch.manual_seed(5)
    noise = torch.randn(4, 64)
    contrast, reconstruction, pair = written_out(method, images, noise)
    torch.manual_seed(5)
    terms = {name: float(term.detach()) for name, term in method(images).items()}
    assert terms == pytest.approx(
        {"contrast": contrast, "reconstruction": 0.05 * reconstruction, "pair": 0.5 * pair},
        rel=1e-4,
    )


def test_the_importance_is_the_slope_of_the_contrastive_loss():
    """Trap: pytorch_grad_cam without targets takes the slope of the largest feature."""
    method, images = synpair().eval(), views(2)
    exact, key, queue = copy.deepcopy(method).double(), method.keys(images[1]), method.queue
    negatives, key = queue.vectors.clone().double(), key.double()
    contrast, features = method.contrast(images)
    gradient, code = code_gradient(contrast, features), code_of(features).detach().double()
    with torch.no_grad():
        for b in range(2):
            for k in range(0, 64, 5):
                step = torch.zeros_like(code)
                step[b, k] = 1e-5
                rise = contrast_of(exact, code + step, key, negatives)
                fall = contrast_of(exact, code - step, key, negatives)
                slope = float((rise - fall) / 2e-5)
                assert float(gradient[b, k]) == pytest.approx(slope, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("kind", ["product", "gradient", "positive"])
@pytest.mark.parametrize("dims", ["or", "and", "variance", "gradient"])
def test_the_dimensions_that_move_are_those_of_the_settings(kind: str, dims: str):
    method = synpair(importance=kind, dims=dims)
    code, gradient = 9 + torch.rand(3, 64), torch.randn(3, 64)  # far from the clamp
    moved = method.perturbed(code, gradient) != code
    rows = method.bank.rows()
    sigma = torch.stack([row / row.norm() for row in rows]).std(dim=0, unbiased=False)
    low = sigma <= torch.quantile(sigma, 0.3)
    for b in range(3):
        c = gradient[b] if kind == "gradient" else code[b] * gradient[b]
        c = c.clamp(min=0) if kind == "positive" else c.abs()
        idle = c <= torch.quantile(c, 0.3)
        cases = {"or": low | idle, "and": low & idle, "variance": low, "gradient": idle}
        assert moved[b].tolist() == cases[dims].tolist()


def test_replaced_values_come_from_another_image():
    method = synpair(noise="replacement", variance_share=1.0)
    code = 10 * torch.arange(4.0)[:, None] + torch.rand(4, 64)
    moved = method.perturbed(code, torch.randn(4, 64))
    source = (moved // 10).long()
    assert (source == source[:, :1]).all()
    assert sorted(source[:, 0].tolist()) == [0, 1, 2, 3]
    assert all(int(source[b, 0]) != b for b in range(4))


def test_the_weight_waits_then_rises_in_a_line():
    values = [ramp(progress, 0.1, 0.05) for progress in (0, 0.1, 0.125, 0.15, 0.7, 1)]
    assert values == pytest.approx([0, 0, 0.5, 1, 1, 1])
    assert [ramp(progress, 0.4, 0.0) for progress in (0.39, 0.4)] == [0, 1]
    assert ramp(0, 0, 0) == 1
    half, full = ({**synpair(progress=p).eval()(views())} for p in (0.125, 0.15))
    assert set(half) == set(full) == {"contrast", "reconstruction", "pair"}


def test_the_pair_s_term_follows_the_ramp():
    terms = []
    for progress in (0.125, 1.0):
        method = synpair(progress=progress).eval()
        torch.manual_seed(1)
        terms.append(float(method(views())["pair"].detach()))
    assert terms[0] == pytest.approx(terms[1] / 2, rel=1e-5)


def test_during_the_warm_up_no_synthetic_image_is_encoded():
    method, passes = synpair(progress=0.0), []
    method.encoder.backbone.register_forward_hook(lambda *_: passes.append("query"))
    method.key_backbone.register_forward_hook(lambda *_: passes.append("key"))
    assert set(method(views())) == {"contrast", "reconstruction"}
    assert passes == ["query", "key"]
    method.progress = 0.5
    method(views())
    assert passes[2:] == ["query", "key", "query", "key"]


@pytest.mark.parametrize("progress", [0.0, 1.0])
@pytest.mark.parametrize("full", [False, True])
def test_the_loss_reaches_every_parameter(progress: float, full: bool):
    kind = "full" if full else "light"
    method = synpair(progress=progress, decoder=kind, projector_norm=True).train()
    torch.stack(list(method(views()).values())).sum().backward()  #
    for group in method.parameter_groups():
        for parameter in group["params"]:
            assert parameter.grad is not None
            assert torch.isfinite(parameter.grad).all()


def test_the_reconstruction_trains_the_encoder_only_if_requested():
    for requested in (True, False):
        method = synpair(reconstruct_encoder=requested)
        method(views())["reconstruction"].backward()
        grad = next(method.encoder.backbone.parameters()).grad
        assert (grad is not None and float(grad.norm()) > 0) is requested
        assert all(p.grad is not None for p in method.decoder.parameters())


def test_the_optimiser_s_groups_are_moco_s_and_an_adam_for_the_decoder():
    method = synpair(decoder_rate=3e-4)
    backbone, heads, decoder = method.parameter_groups()
    names = {id(parameter): name for name, parameter in method.named_parameters()}
    assert {names[id(p)].split(".")[0] for p in backbone["params"]} == {"encoder"}
    assert {names[id(p)].split(".")[0] for p in heads["params"]} == {"projector"}
    assert {names[id(p)].split(".")[0] for p in decoder["params"]} == {"decoder"}
    assert decoder["adam"] == 3e-4
    grouped = [id(p) for group in (backbone, heads, decoder) for p in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(p) for p in method.parameters() if p.requires_grad}


def test_the_same_seed_gives_the_same_losses_and_a_resume_the_same_next_loss():
    first, second = synpair(seed=1, augment=True).train(), synpair(seed=2, augment=True).train()
    first(views())
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    losses = []
    for method in (first, second):
        torch.manual_seed(7)
        losses.append({name: term.item() for name, term in method(views(seed=1)).items()})
    assert losses[0] == losses[1]


def test_the_light_views_change_only_the_pair_s_term():
    plain, augmented = synpair().eval(), synpair(augment=True).eval()
    terms = []
    for method in (plain, augmented):
        torch.manual_seed(2)
        terms.append({name: float(term.detach()) for name, term in method(views()).items()})
    assert terms[0]["reconstruction"] == terms[1]["reconstruction"]
    assert terms[0]["pair"] != terms[1]["pair"]


def test_decoded_images_are_flipped_and_cropped_no_more_than_the_views(
    monkeypatch: pytest.MonkeyPatch,
):
    method = synpair(augment=True).train()
    from_left_to_right = torch.linspace(0, 1, 32).expand(64, 3, 32, 32).clone()
    seen: list[torch.Tensor] = []

    def keys(images: torch.Tensor) -> torch.Tensor:
        seen.append(images)
        return SynPair.keys(method, images)

    monkeypatch.setattr(method, "keys", keys)
    for settings in (ViewSettings(), ViewSettings(flip_probability=0, crop_scale=0.9)):
        method.take_views(settings)
        method.pair(from_left_to_right, torch.rand(64, 64), method.queue.rows())
    across = [images[:, 0, 0, -1] - images[:, 0, 0, 0] for images in seen]  # share, signed
    assert 16 < int((across[0] < 0).sum()) < 48
    assert float(across[0].abs().min()) < 0.75
    assert float(across[1].min()) > 0.75


@pytest.mark.parametrize("side", [56, 112])
def test_views_of_any_size_are_reconstructed_at_that_size(side: int):
    method = synpair().train()
    assert set(method(views(2, side=side))) == {"contrast", "reconstruction", "pair"}


def test_mixed_precision_gives_nearly_the_same_terms_in_float32():
    plain, mixed = synpair().eval(), synpair().eval()
    torch.manual_seed(3)
    expected = plain(views())
    torch.manual_seed(3)
    with torch.autocast("cpu", torch.bfloat16):
        terms = mixed(views())
    for name, term in terms.items():
        assert term.dtype == torch.float32
        torch.testing.assert_close(term, expected[name], rtol=0.05, atol=0.01)


def test_the_paper_recipe_takes_its_values_from_the_class():
    settings: dict[str, Any] = read_recipe("synpair-paper")["method"]
    assert settings == {"name": "synpair", "queue_size": 65536, "decoder": "full"}
    config = SynPair.Config()
    assert (config.reconstruction_weight, config.pair_weight) == (0.05, 0.5)
    assert (config.warmup_share, config.ramp_share) == (10 / 100, 5 / 100)
    assert (config.variance_share, config.importance_share, config.noise_scale) == (0.3, 0.3, 1)
    assert (config.bank_size, config.decoder_rate) == (4096, 1e-4)
