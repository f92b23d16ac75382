"""MoCo (arXiv:1911.05722, algorithm 1) in loops: two steps, keys, queue and loss by value."""

import pytest
import torch
import torch.nn.functional as F

from fgembed.backbones import make_backbone
from fgembed.errors import ConfigError
from fgembed.methods.components.losses import info_nce
from fgembed.methods.components.momentum import update_keys
from fgembed.methods.moco import MoCo
from fgembed.model.encoder import Encoder
from fgembed.model.pooling import GeMPooling
from tests.conftest import TINY


def moco(**settings: object) -> MoCo:
    torch.manual_seed(0)
    config = MoCo.Config.model_validate({"queue_size": 8, "dimensions": 16} | settings)
    return MoCo(Encoder(make_backbone(TINY), GeMPooling()), config)


def views(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(4, 3, 32, 32, generator=generator) for _ in range(2)]


def test_two_steps_equal_the_algorithm_written_out():
    method = moco().eval()
    queue = method.queue.vectors.clone()
    expected_key = {n: p.clone() for n, p in method.key_backbone.named_parameters()}
    for step in range(2):
        first, second = views(step)
        loss = method([first, second])["contrast"]
        with torch.no_grad():
            pooled = method.encoder.backbone(first).mean(dim=(2, 3))
            query = F.normalize(method.projector(pooled), dim=1)
            key_pooled = method.key_backbone(second).mean(dim=(2, 3))
            key = F.normalize(method.key_projector(key_pooled), dim=1)
            logits = [
                torch.cat([(query[b] @ key[b]).view(1), queue @ query[b]]) / 0.2 for b in range(4)
            ]
            expected = -sum(row[0] - row.logsumexp(0) for row in logits) / 4
        torch.testing.assert_close(loss.detach(), expected)
        queue[4 * step : 4 * step + 4] = key
        torch.testing.assert_close(method.queue.vectors, queue)
        with torch.no_grad():
            for parameter in method.encoder.parameters():
                parameter.add_(0.01)
        update_keys(method.momentum_pairs(), method.momentum())
        moved = dict(method.encoder.backbone.named_parameters())
        expected_key = {
            name: 0.999 * weight + 0.001 * moved[name].detach()
            for name, weight in expected_key.items()
        }
        torch.testing.assert_close(dict(method.key_backbone.named_parameters()), expected_key)


def test_the_loss_is_taken_before_the_batch_s_keys_are_enqueued():
    """Otherwise each query would have its own key among the negatives: at least log 2."""
    method = moco().eval()
    images = views(0)
    empty = torch.zeros_like(method.queue.vectors)
    method.queue.vectors.copy_(empty)
    query = F.normalize(
        method.projector(method.encoder.backbone(images[0]).mean(dim=(2, 3))), dim=1
    )
    expected = info_nce(query, method.keys(images[1]), empty, 0.2)
    torch.testing.assert_close(method(images)["contrast"], expected)


def test_keys_in_shuffled_groups_come_back_in_order():
    method = moco(key_groups=2)
    method.train()
    method.key_backbone.eval()  # with fixed statistics the groups cannot matter
    images = views(3)[0]
    together = method._project_keys(images)
    torch.testing.assert_close(method.keys(images), together)


def test_a_batch_larger_than_the_queue_is_refused():
    moco(queue_size=8).check_batch(8)
    refusal = r"batch of 9 keys does not fit a queue of 8; raise method\.queue_size or lower optimi"
    with pytest.raises(ConfigError, match=refusal):
        moco(queue_size=8).check_batch(9)


def test_groups_of_a_single_key_are_refused():
    refusal = r"batch of 7 in 4 groups leaves groups of one key; lower method\.key_groups or raise"
    with pytest.raises(ConfigError, match=refusal):
        moco(key_groups=4).check_batch(7)


def test_a_batch_that_does_not_divide_the_queue_wraps_around():
    method = moco(queue_size=6).eval()
    oldest = method.queue.vectors.clone()
    keys = [method.keys(views(step)[1]) for step in range(2)]
    for step in range(2):
        method(views(step))
    expected = torch.cat([keys[1][2:], keys[0][2:], keys[1][:2]])
    torch.testing.assert_close(method.queue.vectors, expected)
    assert not torch.isin(oldest, method.queue.vectors).any()


@pytest.mark.parametrize(("batch", "groups"), [(10, 4), (7, 3), (9, 4)])
def test_no_group_of_keys_is_a_single_key(batch: int, groups: int, monkeypatch: pytest.MonkeyPatch):
    method = moco(key_groups=groups, queue_size=batch * 2).train()
    method.check_batch(batch)
    sizes: list[int] = []
    project = method._project_keys

    def counted(images: torch.Tensor) -> torch.Tensor:
        sizes.append(len(images))
        return project(images)

    monkeypatch.setattr(method, "_project_keys", counted)
    method.keys(torch.randn(batch, 3, 32, 32))
    assert (len(sizes), sum(sizes), min(sizes)) == (groups, batch, 2)


def test_key_groups_change_the_batch_statistics_of_keys():
    alone, grouped = moco().train(), moco(key_groups=2).train()
    images = views(3)[0]
    assert not torch.allclose(alone.keys(images), grouped.keys(images), atol=1e-4)
