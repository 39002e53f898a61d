"""Cross entropy over all items, or over a sample of them, without the memory of all logits."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import cross_entropy

QUERIES, QUERIES_OF_GPU = 128, 4096
"""Whose logits are in memory at once: more would leave a processor's cache, fewer read the items too often."""


def softmax_loss(query: Tensor, item: Tensor, target: Tensor) -> Tensor:
    """Sum over T queries [T, D] of the cross entropy of their targets [T] among the inner products with [N, D]."""
    return _SoftmaxLoss.apply(query, item, target)  # type: ignore[no-untyped-call]


class _SoftmaxLoss(Function):
    """Makes the gradients along with the loss, so that each chunk's logits are made once and none is kept."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, item: Tensor, target: Tensor) -> Tensor:
        own = item[target].to(query.dtype)
        item = item.to(query.dtype)
        d_query, d_item = torch.empty_like(query), torch.zeros_like(item, dtype=torch.float32)
        loss = torch.zeros((), device=query.device)
        at_once = QUERIES if query.device.type == "cpu" else QUERIES_OF_GPU
        for rows in torch.arange(len(target), device=query.device).split(at_once):
            part = query[rows]
            share = part @ item.T
            largest = share.amax(-1, keepdim=True)
            # Five times as fast as softmax in bfloat16; what the shares sum to divides the narrow factors instead.
            total = share.sub_(largest).exp_().sum(-1, keepdim=True).float()
            target_logit = (part * own[rows]).sum(-1, keepdim=True, dtype=torch.float32)
            loss += (total.log() + largest - target_logit).sum()
            d_query[rows] = ((share @ item) / total).to(part.dtype) - own[rows]
            d_item += share.T @ (part / total).to(part.dtype)
        d_item.index_add_(0, target, query.float(), alpha=-1)
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
    # A target that was drawn as its own negative would be pushed away.
    logits = logits.masked_fill(sample == target[:, None], -torch.inf)
    own = (query * item[target].to(query.dtype)).sum(-1, keepdim=True)
    return cross_entropy(torch.cat([own, logits], 1).float(), torch.zeros_like(target), reduction="sum")
