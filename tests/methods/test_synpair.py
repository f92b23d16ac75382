"""SynPair (arXiv:2407.14676) against its formulas in loops, and its three terms by value."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from fgembed.methods.synpair import SynPair, code_gradient, code_of
from fgembed.resolve import read_recipe
from tests.methods.synpair_parts import synpair, views


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


def test_the_paper_recipe_takes_its_values_from_the_class():
    settings: dict[str, Any] = read_recipe("synpair-paper")["method"]
    assert settings == {"name": "synpair", "queue_size": 65536, "decoder": "full"}
    config = SynPair.Config()
    assert (config.reconstruction_weight, config.pair_weight) == (0.05, 0.5)
    assert (config.warmup_share, config.ramp_share) == (10 / 100, 5 / 100)
    assert (config.variance_share, config.importance_share, config.noise_scale) == (0.3, 0.3, 1)
    assert (config.bank_size, config.decoder_rate) == (4096, 1e-4)
