"""The losses as pure functions of tensors; methods compose them."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce(query: Tensor, key: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """-mean_b log( e^(q_b.k_b/t) / (e^(q_b.k_b/t) + sum_j e^(q_b.Q_j/t)) ).

    MoCo, arXiv:1911.05722, eq. 1.

    Args:
        query: (B, D) unit vectors.
        key: (B, D) unit vectors, the positives.
        queue: (K, D) unit vectors, the negatives of every query.
        temperature: t.
    """
    logits = _logits(query, key, queue, temperature)
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long, device=query.device))


def multi_positive_nce(
    query: Tensor, key: Tensor, queue: Tensor, positives: Tensor, temperature: float
) -> Tensor:
    """InfoNCE with several positives, each with the same weight.

    -mean_b 1/|P(b)| sum_{p in P(b)} log( e^(q_b.p/t) / sum_{a in {k_b} and Q} e^(q_b.a/t) ), where
    P(b) is k_b and the queue's positives of b (supervised contrastive learning, arXiv:2004.11362,
    eq. 2). Without positives in the queue it is `info_nce`.

    Args:
        query: (B, D) unit vectors.
        key: (B, D) unit vectors, a positive each.
        queue: (K, D) unit vectors.
        positives: (B, K), which of the queue are positives too.
        temperature: t.
    """
    logits = _logits(query, key, queue, temperature)
    weights = torch.cat([torch.ones_like(logits[:, :1]), positives.to(logits.dtype)], dim=1)
    likelihood = (F.log_softmax(logits, dim=1) * weights).sum(dim=1) / weights.sum(dim=1)
    return -likelihood.mean()


def in_batch_nce(query: Tensor, key: Tensor, temperature: float) -> Tensor:
    """ctr(q, k) = 2t x mean_b -log( e^(q_b.k_b/t) / sum_j e^(q_b.k_j/t) ), q and k normalised.

    MoCo v3, arXiv:2104.02057, algorithm 1: the negatives are the batch's other keys.

    Args:
        query: (B, D), any length.
        key: (B, D), any length.
        temperature: t.
    """
    logits = F.normalize(query, dim=1) @ F.normalize(key, dim=1).T / temperature  # (B, B)
    truth = torch.arange(len(query), device=query.device)
    return 2 * temperature * F.cross_entropy(logits, truth)


def map_kl(
    target: Tensor,
    prediction: Tensor,
    temperature: float,
    axis: Literal["map", "row"] = "map",
    reduction: Literal["mean", "sum"] = "mean",
) -> Tensor:
    """KL(softmax(target / t) || softmax(prediction / t)), summed over positions.

    Args:
        target: (B, h, w).
        prediction: (B, h, w).
        temperature: t.
        axis: `map`: one distribution over all positions of a picture; `row`: one for each row,
            as in the released LCR code.
        reduction: over pictures. A sum grows with the batch and shrinks with the number of
            processes; a mean does neither.
    """
    shape = (len(target), -1) if axis == "map" else target.shape
    log_p = F.log_softmax(target.reshape(shape) / temperature, dim=-1)
    log_r = F.log_softmax(prediction.reshape(shape) / temperature, dim=-1)
    total = F.kl_div(log_r, log_p, reduction="sum", log_target=True)
    return total / len(target) if reduction == "mean" else total


def description_kl(
    target: Tensor, logits: Tensor, reduction: Literal["mean", "elements"] = "mean"
) -> Tensor:
    """KL(target || softmax(logits)), summed over descriptions, averaged over pictures.

    Args:
        target: (B, S), each row a distribution.
        logits: (B, S).
        reduction: `elements` divides by B x S, as the released PP-SSL code does: S times less.
    """
    total = F.kl_div(F.log_softmax(logits, dim=1), target, reduction="sum")
    return total / (len(target) if reduction == "mean" else target.numel())


def _logits(query: Tensor, key: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """(B, 1 + K): each query's answer to its own key, then to the queue's."""
    own = (query * key).sum(dim=1, keepdim=True)
    return torch.cat([own, query @ queue.T], dim=1) / temperature  # (B, 1 + K)
