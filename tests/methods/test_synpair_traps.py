"""A test for each trap of SynPair (arXiv:2407.14676), which has no released code."""

import copy

import pytest
import torch

from fgembed.methods.moco import MoCo
from tests.methods.synpair_parts import synpair, views


def statistics(method: torch.nn.Module) -> dict[str, torch.Tensor]:
    kinds = ("running_mean", "running_var", "num_batches_tracked")
    state = method.state_dict().items()
    return {name: value.clone() for name, value in state if name.endswith(kinds)}


@pytest.mark.parametrize("frozen", [False, True])
def test_trap_1_synthetic_images_leave_no_trace_in_running_statistics(frozen: bool):
    """After a full step they are those of MoCo's step on the same images, to the last bit."""
    method = synpair(projector_norm=True, augment=True)
    method.encoder.backbone.freeze_statistics = frozen
    method.key_backbone.freeze_statistics = frozen
    shared = set(MoCo.Config.model_fields)
    config = MoCo.Config.model_validate(method.config.model_dump(include=shared))
    moco = MoCo(copy.deepcopy(method.encoder), config)
    moco.load_state_dict(method.state_dict(), strict=False)
    before = statistics(method)
    for trained in (method, moco):
        trained.train()
        trained(views())
    after, expected = statistics(method), statistics(moco)
    for name, value in expected.items():
        assert torch.equal(after[name], value), name
        assert frozen or torch.equal(before[name], value) is False
    assert int(after["projector.1.num_batches_tracked"]) == 1


def test_trap_1_the_decoder_s_statistics_are_of_unperturbed_codes():
    warm, full = synpair(progress=0.0).train(), synpair(progress=1.0).train()
    for method in (warm, full):
        method(views())
    expected = statistics(warm.decoder)
    assert expected
    for name, value in statistics(full.decoder).items():
        assert torch.equal(value, expected[name]), name


def test_trap_2_noise_has_the_same_scale_for_dimensions_that_vary_much_or_little():
    """On the scale of its own deviation, the first half would move a hundred times less."""
    method = synpair(bank_size=400, variance_share=1.0, noise_scale=0.5)
    spread = torch.cat([torch.full((32,), 0.03), torch.full((32,), 3.0)])
    method.bank.enqueue(50 + spread * torch.randn(400, 64))
    code = torch.full((2000, 64), 50.0)
    steps = (method.perturbed(code, torch.rand_like(code)) - code).std(dim=0)
    mean = float(method.bank.rows().std(dim=0).mean())
    assert mean == pytest.approx(1.515, rel=0.05)
    torch.testing.assert_close(steps, torch.full((64,), 0.5 * mean), rtol=0.1, atol=0)


def test_trap_2_the_noise_is_on_the_scale_of_the_code_and_not_of_unit_codes():
    steps = []
    for scale in (1.0, 10.0):
        method = synpair(bank_size=20, variance_share=1.0)
        method.bank.enqueue(
            50 + scale * torch.rand(20, 64, generator=torch.Generator().manual_seed(1))
        )
        code = torch.full((4, 64), 50.0)
        torch.manual_seed(0)
        steps.append(method.perturbed(code, torch.rand_like(code)) - code)
    torch.testing.assert_close(steps[1], 10 * steps[0], rtol=1e-2, atol=1e-2)


def test_trap_3_a_code_behind_a_relu_stays_non_negative_and_a_signed_code_moves_freely():
    method = synpair(noise_scale=10.0, variance_share=1.0)
    code = torch.rand(8, 64)
    assert float(method.perturbed(code, torch.rand_like(code)).min()) == 0
    assert float(method.perturbed(code - 0.5, torch.rand_like(code)).min()) < -1


def test_trap_4_the_decoder_takes_no_gradient_from_the_pair():
    method = synpair(augment=True).train()
    pair = method(views())["pair"]
    trained = list(method.decoder.parameters())
    assert torch.autograd.grad(pair, trained, retain_graph=True, allow_unused=True) == (
        (None,) * len(trained)
    )
    pair.backward()
    for module in (method.encoder.backbone, method.projector):
        assert all(parameter.grad is not None for parameter in module.parameters())
    for module in (method.key_backbone, method.key_projector):
        assert all(parameter.grad is None for parameter in module.parameters())


def test_trap_5_only_real_keys_are_enqueued():
    method = synpair().eval()
    keys, oldest = method.keys(views()[1]), method.queue.vectors[4:].clone()
    method(views())
    assert method.queue.next_slot == 4
    torch.testing.assert_close(method.queue.vectors, torch.cat([keys, oldest]))


def test_trap_6_an_image_s_real_key_is_no_negative_of_its_decoded_self():
    """Negatives are the queue as before the step: what the new keys replace still counts."""
    terms = []
    for oldest in (1.0, -1.0):
        method = synpair(noise_scale=0.0).eval()  # so that no noise depends on the queue
        method.queue.vectors[:4] *= oldest
        terms.append(float(method(views())["pair"].detach()))
    assert terms[0] != pytest.approx(terms[1], rel=1e-6)


def test_trap_7_a_dead_dimension_and_a_bank_of_a_single_code_stay_finite():
    method = synpair(bank_size=4)
    method.bank.enqueue(torch.ones(4, 64))
    code = torch.rand(4, 64)
    code[:, :40] = 0
    assert torch.isfinite(method.perturbed(code, torch.zeros(4, 64))).all()
