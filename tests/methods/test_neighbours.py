"""Neighbours against its formula in loops, and what may count as a neighbour."""

import pytest
import torch
import torch.nn.functional as F

from fgembed.backbones import make_backbone
from fgembed.errors import ConfigError
from fgembed.methods.components.losses import info_nce, multi_positive_nce
from fgembed.methods.neighbours import Neighbours
from fgembed.model.encoder import Encoder
from fgembed.model.pooling import GeMPooling
from tests.conftest import TINY


def neighbours(**settings: object) -> Neighbours:
    torch.manual_seed(0)
    values = {"queue_size": 8, "dimensions": 16, "neighbours": 2} | settings
    config = Neighbours.Config.model_validate(values)
    return Neighbours(Encoder(make_backbone(TINY), GeMPooling()), config).eval()


def views(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(4, 3, 32, 32, generator=generator) for _ in range(2)]


def unit(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, 16, generator=generator), dim=1)


def test_the_loss_equals_the_formula_in_loops():
    query, key, queue = unit(3, 0), unit(3, 1), unit(5, 2)
    positives = torch.tensor([[1, 0, 0, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]]).bool()
    total = torch.zeros(())
    for b in range(3):
        cosines = [query[b] @ key[b]] + [query[b] @ negative for negative in queue]
        denominator = sum(torch.exp(cosine / 0.2) for cosine in cosines)
        pulled = [0] + [1 + k for k in range(5) if positives[b, k]]
        terms = [torch.log(torch.exp(cosines[p] / 0.2) / denominator) for p in pulled]
        total -= sum(terms) / len(terms)
    loss = multi_positive_nce(query, key, queue, positives, temperature=0.2)
    torch.testing.assert_close(loss, total / 3)


def test_without_neighbours_the_loss_is_moco_s():
    none = torch.zeros(3, 5, dtype=torch.bool)
    arguments = unit(3, 0), unit(3, 1), unit(5, 2)
    loss = multi_positive_nce(*arguments, none, temperature=0.2)
    torch.testing.assert_close(loss, info_nce(*arguments, temperature=0.2))


def test_neighbours_are_the_nearest_after_centring_once_the_queue_is_full():
    method = neighbours(queue_size=4, neighbours=2)
    channels = method.encoder.backbone.channels
    stored = torch.zeros(4, channels)
    stored[:, 0] = 100.0  # shared by all, so it carries no information
    stored[:, 1] = torch.tensor([1.0, -1.0, 0.8, -0.8])
    features = torch.zeros(2, channels)
    features[:, 0] = 100.0
    features[:, 1] = torch.tensor([0.1, -0.1])
    method.feature_bank.enqueue(stored[:3])
    assert not method.neighbours(features).any()
    method.feature_bank.enqueue(stored[3:])
    expected = torch.tensor([[True, False, True, False], [False, True, False, True]])
    assert torch.equal(method.neighbours(features), expected)


def test_a_step_pulls_to_the_key_and_to_the_queue_s_nearest():
    method = neighbours()
    for seed in range(2):  # fills the queue of eight
        method(views(seed))
    first, second = views(2)
    queue, stored = method.queue.vectors.clone(), method.feature_bank.vectors.clone()
    with torch.no_grad():
        pooled = method.key_backbone(second).mean(dim=(2, 3))
        key = F.normalize(method.key_projector(pooled), dim=1)
        features = method.encoder.backbone(first).mean(dim=(2, 3))
        query = F.normalize(method.projector(features), dim=1)
        centre = stored.mean(dim=0)
        similarity = F.cosine_similarity((pooled - centre)[:, None], (stored - centre)[None], dim=2)
        nearest = similarity.argsort(dim=1, descending=True)[:, :2]
        logits = torch.cat([(query * key).sum(dim=1, keepdim=True), query @ queue.T], dim=1) / 0.2
        positives = [[0, *(1 + nearest[b]).tolist()] for b in range(4)]
        terms = [(logits[b].logsumexp(0) - logits[b, positives[b]]).mean() for b in range(4)]
    loss = method([first, second])["contrast"].detach()
    torch.testing.assert_close(loss, torch.stack(terms).mean(), rtol=1e-4, atol=1e-5)
    assert int(method.feature_bank.enqueued) == 12
    torch.testing.assert_close(method.feature_bank.vectors[:4], pooled)
    torch.testing.assert_close(method.queue.vectors[:4], key)


def test_a_queue_of_fewer_keys_than_neighbours_gives_all_of_them():
    method = neighbours(queue_size=4, neighbours=9)
    channels = method.encoder.backbone.channels
    method.feature_bank.enqueue(torch.randn(4, channels))
    assert method.neighbours(torch.randn(2, channels)).all()


def test_shuffled_groups_of_keys_are_refused():
    with pytest.raises(ConfigError, match=r"got method\.key_groups = 2; set it to 1"):
        neighbours(key_groups=2)
