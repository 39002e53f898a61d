"""What the slot of a policy finds among items nobody has watched, and what it costs among the others.

`min_lead` is the quantile of the leads of validation requests that gives the slot to a share of them.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from rich.table import Table

from fusion_gateway.fusion import Scores, Slot
from fusion_gateway.fusion.slot import lead
from training.artifacts.requests import requests_for
from training.benchmark.cold_items import ColdItems
from training.benchmark.runner import Cell, Runner, over_queries
from training.evaluation.next_item import Mask, seen_items
from training.evaluation.ranking_metrics import Doubles
from training.features.interactions import Floats, Ints
from training.terminal import narrow_table

K = 10
SHARES = (0.5, 0.4, 0.3, 0.2)
"""Of the lists that have the slot: the largest counts that costs learned targets at most ..."""
MAX_COST = 0.01
"""... this share of their NDCG@10. Those targets are validation events."""
METRICS = ("hr@10", "ndcg@10")
OF = ("hidden", "learned")
"""Items: what is the target."""


def measured(runner: Runner, cell: Cell, share: float) -> dict[str, Doubles]:
    """[2, len(METRICS), B] of a cell of cold_maps for each of OF: without and with the slot."""
    cold = ColdItems.of(runner.dataset, cell.seed)
    is_new = ~np.isin(cold.items, cold.split.train["item"].to_numpy())
    validation = requests_for(cold.split.validation, cold.split.train)
    target = np.searchsorted(cold.items, cold.split.validation["item"].to_numpy())
    tables = {"hidden": _open(cell.arrays["hidden"], seen_items(cold.requests, cold.items))}
    tables["learned"] = _open(cell.arrays["learned"], seen_items(validation, cold.items))
    # Without the users of whom nothing is known, where every model abstains.
    answered = [row[is_new] for row in tables["learned"] if np.isfinite(row[is_new]).all()]
    slot = Slot(float(np.quantile([lead(scores) for scores in answered], 1 - share)), K)
    targets = {"hidden": cold.target, "learned": target}
    return {name: both(tables[name], targets[name], is_new, slot) for name in OF}


def _open(scores: Floats, seen: Mask) -> Scores:
    """The scores [B, N], -inf for what is no candidate."""
    return np.where(seen | np.isnan(scores), -np.inf, scores).astype(np.float64)


def both(scores: Scores, target: Ints, is_new: Mask, slot: Slot) -> Doubles:
    """[2, len(METRICS), B] of scores [B, N], of which some items [N] are new: without and with the slot."""
    without = np.argsort(-scores, axis=1, kind="stable")[:, :K]
    listed = np.stack([_with_slot(top, row, is_new, slot) for top, row in zip(without, scores, strict=True)])
    return np.stack([_metrics(each == target[:, None]) for each in (without, listed)])


def _with_slot(top: Ints, scores: Scores, is_new: Mask, slot: Slot) -> Ints:
    """As fusion_gateway.new_items does it."""
    best = None if is_new[top].any() else slot.surest(scores, is_new)
    return top if best is None else np.append(top[:-1], best)


def _metrics(hit: Mask) -> Doubles:
    """[len(METRICS), B] of a list's ranks [B, K] that are the target."""
    discount = 1 / np.log2(np.arange(K) + 2)
    return np.stack([hit.any(axis=1).astype(np.float64), hit @ discount])


def rows(runner: Runner, cells: Sequence[Cell], dataset: str) -> Iterator[dict[str, object]]:
    """Of all cells together: one metric per row, without and with the slot, and the difference as `-more`."""
    share, found = _affordable(runner, cells)
    named = {"dataset": dataset, "model": cells[0].model, "share": share, "seeds": sorted(cell.seed for cell in cells)}
    for name in OF:
        for metric, before, after in zip(METRICS, *found[name], strict=True):
            protocol = {"protocol": f"cold-items slot, {name} targets"}
            yield named | protocol | {"metric": f"{metric}-without"} | over_queries(before)
            yield named | protocol | {"metric": metric} | over_queries(after)
            yield named | protocol | {"metric": f"{metric}-more"} | over_queries(after - before)


def _affordable(runner: Runner, cells: Sequence[Cell]) -> tuple[float, dict[str, Doubles]]:
    """The largest of SHARES that costs at most MAX_COST, or the smallest, and what `measured` finds of all cells."""
    for share in SHARES:
        each = [measured(runner, cell, share) for cell in cells]
        found = {name: _all_queries(each, name) for name in OF}
        without, listed = found["learned"][:, -1].mean(axis=1)
        if listed >= (1 - MAX_COST) * without:
            break
    return share, found


def _all_queries(found: Sequence[dict[str, Doubles]], name: str) -> Doubles:
    return np.concatenate([each[name] for each in found], axis=2)


def as_table(rows: Sequence[dict[str, object]], dataset: str) -> Table:
    """The content of `rows`, for people."""
    model, share = rows[0]["model"], rows[0]["share"]
    caption = f"{model} at rank {K}, in {share:.0%} of the lists: where the best new item's lead is largest"
    table = narrow_table(f"{dataset}: what a slot for new items finds and costs", caption)
    table.add_column("targets")
    table.add_column("metric")
    for name in ("without", "with", "share"):
        table.add_column(name, justify="right")
    triples = zip(*(iter(rows),) * 3, strict=True)
    for before, after, more in triples:
        target = str(after["protocol"]).removeprefix("cold-items slot, ").removesuffix(" targets")
        values = [float(str(each["value"])) for each in (before, after, more)]
        share = f"{values[2] / values[0]:+.1%}" if values[0] else ""
        table.add_row(target, str(after["metric"]), f"{values[0]:.4f}", f"{values[1]:.4f}", share)
    return table
