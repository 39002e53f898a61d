"""Cross entropy over all items, or over a sample of them, without the memory of all logits."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import cross_entropy

LOGITS = 1 << 24
"""In memory at once, whatever the catalogue."""


def softmax_loss(query: Tensor, item: Tensor, target: Tensor) -> Tensor:
    """Sum over T queries [T, D] of the cross entropy of their targets [T] among the inner products with [N, D]."""
    return _SoftmaxLoss.apply(query, item, target)  # type: ignore[no-untyped-call]


class _SoftmaxLoss(Function):
    """Makes the gradients along with the loss, so that each chunk's logits are made once and none is kept."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, item: Tensor, target: Tensor) -> Tensor:
        item = item.to(query.dtype)
        d_query, d_item = torch.empty_like(query), torch.zeros_like(item, dtype=torch.float32)
        loss = torch.zeros((), device=query.device)
        for rows in torch.arange(len(target), device=query.device).split(LOGITS // len(item) + 1):
            share = torch.softmax(query[rows] @ item.T, -1)
            place = torch.arange(len(share), device=query.device), target[rows]
            loss -= share[place].float().clamp(min=1e-30).log().sum()
            share[place] -= 1
            d_query[rows] = share @ item
            d_item += share.T @ query[rows]
        ctx.save_for_backward(d_query, d_item)
        return loss

    @staticmethod
    def backward(ctx: Any, *d_loss: Tensor) -> tuple[Tensor, Tensor, None]:
        d_query, d_item = ctx.saved_tensors
        return d_query * d_loss[0], d_item * d_loss[0], None


def sampled_softmax_loss(query: Tensor, item: Tensor, target: Tensor, negatives: int) -> Tensor:
    """The same with so many `negatives`, drawn evenly and shared by all queries, each standing for N / negatives items.

    `item` [N, D] is read in the sampled rows only.
    """
    sample = torch.randint(len(item), (negatives,), device=query.device)
    logits = query @ item[sample].T.to(query.dtype) + math.log(len(item) / negatives)
    logits = logits.masked_fill(sample == target[:, None], -torch.inf)
    own = (query * item[target].to(query.dtype)).sum(-1, keepdim=True)
    return cross_entropy(torch.cat([own, logits], 1).float(), torch.zeros_like(target), reduction="sum")
