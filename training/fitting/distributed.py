"""Several processes, started by torchrun, that train one model together; alone, none of this does anything."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from training.progress import console

T = TypeVar("T")


def world_size() -> int:
    """How many processes torchrun started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_rank_zero() -> bool:
    """The first process shows progress, saves and publishes."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Joins the others; each process on a machine with GPUs takes its own."""
    if world_size() == 1:
        yield
        return
    console.quiet = not is_rank_zero()
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
        distributed.barrier()  # nobody leaves while the first still publishes
    finally:
        distributed.destroy_process_group()


def broadcast(value: T) -> T:
    """The first process's value."""
    if world_size() == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box)
    return box[0]


def shard(batches: Sequence[T]) -> Sequence[T]:
    """This process's share of the first one's batches; as many for each, so that some may be left out."""
    if world_size() == 1:
        return batches
    # Every process must make as many steps, for gradients are averaged step by step.
    each = max(1, len(batches) // world_size())
    taken = [batches[position % len(batches)] for position in range(each * world_size())]
    return broadcast(taken)[distributed.get_rank() :: world_size()]


def wrap_ddp(module: nn.Module) -> nn.Module:
    """The same module, its gradients the mean over all processes."""
    return module if world_size() == 1 else DistributedDataParallel(module)
