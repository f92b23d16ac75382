"""MoCo against the algorithm written out: two steps, keys, queue and loss by value."""

import torch
import torch.nn.functional as F

from fgembed.backbones import make_backbone
from fgembed.encoder import Encoder
from fgembed.losses import info_nce
from fgembed.methods.moco import MoCo
from fgembed.momentum import update_keys
from fgembed.pooling import GeMPooling
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
    queue, key_weights = method.queue.keys.clone(), None
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
        torch.testing.assert_close(method.queue.keys, queue)
        with torch.no_grad():
            for parameter in method.encoder.parameters():
                parameter.add_(0.01)
        update_keys(method.momentum_pairs(), method.momentum())
        key_weights = next(method.key_backbone.parameters())
    assert key_weights is not None


def test_the_loss_is_taken_before_the_own_keys_are_enqueued():
    """Else each query would find its own key among the negatives: at least log 2."""
    method = moco().eval()
    pictures = views(0)
    empty = torch.zeros_like(method.queue.keys)
    method.queue.keys.copy_(empty)
    query = F.normalize(
        method.projector(method.encoder.backbone(pictures[0]).mean(dim=(2, 3))), dim=1
    )
    expected = info_nce(query, method.keys(pictures[1]), empty, 0.2)
    torch.testing.assert_close(method(pictures)["contrast"], expected)


def test_keys_in_shuffled_groups_come_back_in_order():
    method = moco(key_groups=2)
    method.train()
    method.key_backbone.eval()  # with fixed statistics the groups cannot matter
    pictures = views(3)[0]
    together = method._project_keys(pictures)
    torch.testing.assert_close(method.keys(pictures), together)


def test_key_groups_change_the_batch_statistics_of_keys():
    alone, grouped = moco().train(), moco(key_groups=2).train()
    pictures = views(3)[0]
    assert not torch.allclose(alone.keys(pictures), grouped.keys(pictures), atol=1e-4)
