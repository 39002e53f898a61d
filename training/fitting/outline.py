"""A drawing of a network in letters: its modules, each with its sizes and its number of parameters."""

from collections.abc import Iterator

from torch import nn

WIDTH = 72


def outline(network: nn.Module) -> str:
    """A line a module, as a tree; modules that stand in two places are drawn in both and counted once in sums."""
    return "\n".join(_lines(type(network).__name__, network, "", ""))


def _lines(name: str, module: nn.Module, first: str, following: str) -> Iterator[str]:
    parameters = sum(parameter.numel() for parameter in module.parameters())
    children = list(module.named_children())
    sizes = "" if children else _sizes(module)
    yield f"{f'{first}{name}{sizes}':<{WIDTH}}{parameters:>12,}".rstrip()
    for position, (child, own) in enumerate(children, 1):
        last = position == len(children)
        branch, below = ("└─ ", "   ") if last else ("├─ ", "│  ")
        yield from _lines(child, own, following + branch, following + below)


def _sizes(module: nn.Module) -> str:
    kind, more = type(module).__name__, module.extra_repr()
    return f": {kind}({more})" if more else f": {kind}"
