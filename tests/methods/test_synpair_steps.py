"""A step of SynPair: which term begins when, what it trains, and what it may change."""

import copy

import pytest
import torch

from fgembed.config import ViewSettings
from fgembed.methods.synpair import SynPair, ramp
from tests.methods.synpair_parts import synpair, views


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
