"""The losses over many items."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from training.models import softmax
from training.models.softmax import sampled_softmax_loss, softmax_loss


def made(tokens: int = 11, items: int = 30) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    query, item = (torch.randn(rows, 6, requires_grad=True) for rows in (tokens, items))
    return query, item, torch.randint(items, (tokens,))


def test_in_chunks_it_is_the_plain_cross_entropy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softmax, "QUERIES", 4)
    query, item, target = made()
    chunked, plain = softmax_loss(query, item, target), cross_entropy(query @ item.T, target, reduction="sum")
    torch.testing.assert_close(chunked, plain)
    gradients = [torch.autograd.grad(2 * loss, (query, item)) for loss in (chunked, plain)]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_in_bfloat16_it_is_near() -> None:
    query, item, target = made()
    torch.testing.assert_close(
        softmax_loss(query.bfloat16(), item, target), softmax_loss(query, item, target), atol=0, rtol=0.01
    )


def test_many_samples_come_near_all_items() -> None:
    query, item, target = made()
    sampled, full = sampled_softmax_loss(query, item, target, 20_000), softmax_loss(query, item, target)
    torch.testing.assert_close(sampled, full, atol=0, rtol=0.03)
