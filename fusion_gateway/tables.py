"""The gateway's answers as tables for a terminal."""

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from protos.marquee.v1 import recommender_pb2 as pb

WIDTH_OF_A_FILE = 160
FALLBACKS = {
    pb.FALLBACK_NONE: "the models, from the user's history",
    pb.FALLBACK_FOLD_IN: "the models, from the history in the request",
    pb.FALLBACK_PROFILE: "the profile: what is popular of its genres, or with people like that",
    pb.FALLBACK_NO_HISTORY: "the models that need no history, among popular items",
    pb.FALLBACK_POPULARITY: "the popularity list",
}


def console() -> Console:
    """Of the terminal's width; wide when the output goes elsewhere."""
    return Console(width=None if sys.stdout.isatty() else WIDTH_OF_A_FILE, highlight=False)


def recommendations(response: pb.RecommendResponse, title: str = "", reasons: bool = False) -> Table:
    """Needs an explained response. One column for each model that contributed."""
    models = list(dict.fromkeys(part.model for item in response.items for part in item.explanation.contributions))
    table = _table(title, "rank", "title", "year", "genres", "score", *models, "retrieved by", *["why"] * reasons)
    for item in response.items:
        why = item.explanation
        everyone = len(why.retrieved_by) > 1 and set(why.retrieved_by) == set(response.model_versions)
        sources = "all" if everyone else ", ".join(why.retrieved_by)
        row = [*_ranked(item), *_contributions(why, models), sources, *[why.reason] * reasons]
        table.add_row(*map(escape, row))
    table.caption = escape(_about(response))
    return table


def neighbours(response: pb.SimilarItemsResponse) -> Table:
    kinds = [part.model for part in response.items[0].explanation.contributions] if response.items else []
    table = _table(f"Like {response.query.title}", "rank", "title", "year", "genres", "score", *kinds)
    for item in response.items:
        table.add_row(*map(escape, [*_ranked(item), *_contributions(item.explanation, kinds)]))
    table.caption = escape(_missing(response.degraded))
    return table


def matches(response: pb.SearchItemsResponse) -> Table:
    table = _table("", "id", "title", "year", "genres", "likeness")
    for match in response.matches:
        row = [match.item.id, match.item.title, _year(match.item), ", ".join(match.item.genres), f"{match.score:.0f}"]
        table.add_row(*map(escape, row))
    table.caption = None if response.matches else "no movie has a similar title"
    return table


def events(response: pb.GetHistoryResponse) -> Table:
    table = _table("", "time", "item", "rating", "event id")
    for event in response.events:
        rating = f"{event.rating:g}" if event.HasField("rating") else ""
        table.add_row(str(event.time), escape(event.item_id), rating, escape(event.event_id))
    return table


def status(response: pb.GetStatusResponse) -> Table:
    table = _table("", "model", "address", "ready", "version")
    for model in response.models:
        table.add_row(model.name, model.address, "yes" if model.ready else "no", str(model.version or "?"))
    table.caption = (
        f"catalogue {response.catalog_version} with {response.catalog_items} items; policies "
        f"{', '.join(response.policies)} (default {response.default_policy}) of fusion {response.fusion_version}"
    )
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=escape(title) or None, title_justify="left", caption_justify="left", title_style="bold")
    for column in columns:
        text = column in ("title", "genres", "retrieved by", "why", "item", "event id", "model", "address")
        table.add_column(column, justify="left" if text else "right", overflow="fold" if text else "ellipsis")
    return table


def _ranked(item: pb.RankedItem) -> list[str]:
    return [str(item.rank), item.item.title, _year(item.item), ", ".join(item.item.genres), f"{item.score:.3f}"]


def _year(item: pb.Item) -> str:
    return str(item.year) if item.year else ""


def _contributions(explanation: pb.Explanation, models: Iterable[str]) -> list[str]:
    parts = {part.model: f"{part.contribution:+.3f}" for part in explanation.contributions}
    return [parts.get(model, "") for model in models]


def _about(response: pb.RecommendResponse) -> str:
    versions = ", ".join(f"{model} {version}" for model, version in sorted(response.model_versions.items()))
    lines = [
        f"from {FALLBACKS.get(response.fallback, '?')}; {response.candidates} candidates, "
        f"{response.history_used} events used, {response.history_skipped} skipped",
        f"policy {response.policy}; versions: {versions or 'none'}; {response.timings_ms['total']:.1f} ms",
        _missing(response.degraded),
    ]
    return "\n".join(line for line in lines if line)


def _missing(degraded: Sequence[pb.Degraded]) -> str:
    return "missing: " + ", ".join(f"{each.model} ({each.reason})" for each in degraded) if degraded else ""
