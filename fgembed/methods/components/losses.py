"""The losses as pure functions of tensors; methods compose them.

B is the batch, D the length of a projection, K the size of the queue, t the temperature.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce(query: Tensor, key: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """InfoNCE: each query should match its own key better than every key of the queue.

        -mean_b log( e^(q_b.k_b/t) / (e^(q_b.k_b/t) + sum_j e^(q_b.Q_j/t)) )

    MoCo, arXiv:1911.05722, eq. 1. It is the cross entropy of the logits (q_b.k_b, q_b.Q_1, ...)/t
    with the first one as the truth.

    Args:
        query: q, (B, D) unit vectors.
        key: k, (B, D) unit vectors, the positives.
        queue: Q, (K, D) unit vectors, the negatives of every query.
        temperature: t > 0.

    Returns:
        A scalar, 0 at least.

    Example:
        A key at cosine 1, a negative at cosine 0 and t = 0.5 give log(1 + e^-2):

        >>> query, queue = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        >>> info_nce(query, query, queue, temperature=0.5)
        tensor(0.1269)
    """
    logits = _logits(query, key, queue, temperature)
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long, device=query.device))


def multi_positive_nce(
    query: Tensor, key: Tensor, queue: Tensor, positives: Tensor, temperature: float
) -> Tensor:
    """InfoNCE with several positives, each with the same weight.

        -mean_b 1/|P(b)| sum_{p in P(b)} log( e^(q_b.p/t) / sum_{a in {k_b} and Q} e^(q_b.a/t) )

    P(b) is k_b and the positives of b in the queue. Supervised contrastive learning,
    arXiv:2004.11362, eq. 2. Without positives in the queue it equals `info_nce`.

    Args:
        query: q, (B, D) unit vectors.
        key: k, (B, D) unit vectors; each is a positive of its query.
        queue: Q, (K, D) unit vectors.
        positives: (B, K) bool, which vectors of the queue are positives, too.
        temperature: t > 0.

    Returns:
        A scalar.

    Example:
        A key and a neighbour, both at cosine 1, and no negative give log 2:

        >>> query = torch.tensor([[1.0, 0.0]])
        >>> multi_positive_nce(query, query, query, torch.tensor([[True]]), temperature=0.2)
        tensor(0.6931)
    """
    logits = _logits(query, key, queue, temperature)
    weights = torch.cat([torch.ones_like(logits[:, :1]), positives.to(logits.dtype)], dim=1)
    likelihood = (F.log_softmax(logits, dim=1) * weights).sum(dim=1) / weights.sum(dim=1)
    return -likelihood.mean()


def in_batch_nce(query: Tensor, key: Tensor, temperature: float) -> Tensor:
    """InfoNCE whose negatives are the other keys of the batch, scaled by 2t: MoCo v3's `ctr`.

        ctr(q, k) = 2t x mean_b -log( e^(q_b.k_b/t) / sum_j e^(q_b.k_j/t) )

    q_b and k_b are normalised here. MoCo v3, arXiv:2104.02057, algorithm 1.

    Args:
        query: q, (B, D), any length.
        key: k, (B, D), any length.
        temperature: t > 0.

    Returns:
        A scalar.

    Example:
        Two queries that match their keys, which are orthogonal, give 2 log(1 + 1/e) at t = 1:

        >>> in_batch_nce(torch.eye(2), 3 * torch.eye(2), temperature=1.0)
        tensor(0.6265)
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
    """The Kullback-Leibler divergence of two maps over positions, read as distributions.

        mean_b sum_i P_bi (log P_bi - log R_bi),  P = softmax(target/t),  R = softmax(prediction/t)

    i runs over the h x w positions. LCR's regulariser (arXiv:2303.01669), with what its released
    code does otherwise behind `axis` and `reduction`.

    Args:
        target: (B, h, w).
        prediction: (B, h, w).
        temperature: t > 0.
        axis: `map`: one softmax over all positions of an image; `row`: one for each row of the
            map, as in LCR's released MoCo code.
        reduction: over images. A sum, as in the released code, grows with the batch and shrinks
            with the number of processes; a mean does neither.

    Returns:
        A scalar, 0 at least.

    Example:
        >>> target, prediction = torch.tensor([[[0.0, 1.0]]]), torch.zeros(1, 1, 2)
        >>> map_kl(target, prediction, temperature=1.0)  # P = (0.269, 0.731), R = (0.5, 0.5)
        tensor(0.1109)
    """
    shape = (len(target), -1) if axis == "map" else target.shape
    log_p = F.log_softmax(target.reshape(shape) / temperature, dim=-1)
    log_r = F.log_softmax(prediction.reshape(shape) / temperature, dim=-1)
    total = F.kl_div(log_r, log_p, reduction="sum", log_target=True)
    return total / len(target) if reduction == "mean" else total


def description_kl(
    target: Tensor, logits: Tensor, reduction: Literal["mean", "elements"] = "mean"
) -> Tensor:
    """The divergence from a teacher's distribution over descriptions to the student's.

        mean_b sum_s p_bs (log p_bs - log softmax(logits)_bs)

    The AIS term of PP-SSL (arXiv:2412.00134), as in the released code of LearnMat.

    Args:
        target: p, (B, S), each row a distribution over S descriptions.
        logits: (B, S), the student's.
        reduction: `mean` over images; `elements` divides by B x S as the released code does,
            which gives an S-th of it.

    Returns:
        A scalar, 0 at least.

    Example:
        >>> description_kl(torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2))  # log 2
        tensor(0.6931)
    """
    total = F.kl_div(F.log_softmax(logits, dim=1), target, reduction="sum")
    return total / (len(target) if reduction == "mean" else target.numel())


def _logits(query: Tensor, key: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """(B, 1 + K): each query's similarity to its own key, then to the queue, over t."""
    positive = (query * key).sum(dim=1, keepdim=True)
    return torch.cat([positive, query @ queue.T], dim=1) / temperature  # (B, 1 + K)
