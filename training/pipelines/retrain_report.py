"""The report of a retraining: what was decided and on what, for people and for programs."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from training.html_page import facts as fact_list
from training.html_page import grid, write_page
from training.pipelines.retrain_run import Facts

MAX_REPORTS = 50
"""Older ones are deleted."""
FINGERPRINT_CHARACTERS = 12


@dataclass(frozen=True)
class Section:
    """A table of text."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def write_reports(facts: Facts, folder: Path) -> None:
    """Writes report.html and report.json."""
    parts = [fact_list(summary(facts))]
    for section in sections(facts):
        parts += [f"<h2>{section.title}</h2>", grid(section.columns, section.rows, section.note)]
    write_page(folder / "report.html", headline(facts), parts)
    kept = {name: value for name, value in facts.items() if name not in ("settings", "serving")}
    (folder / "report.json").write_text(json.dumps(kept, indent=2) + "\n")


def headline(facts: Facts) -> str:
    return "Published" if facts["verdict"]["exit_code"] == 0 else "Not published"


def summary(facts: Facts) -> list[tuple[str, str]]:
    """Names and values."""
    found = [("verdict", f"{headline(facts)}: {facts['verdict']['reason']}")]
    if "data" in facts:
        data, newest = facts["data"], facts["held_out"]
        counted = f"{data['events']:,} of {data['users']:,} users, {data['items']:,} items"
        found.append(("events", f"{counted}, {_span(data['first'], data['last'])}"))
        found.append(
            ("held out", f"{newest['events']:,} events of {newest['users']:,} users after {_day(newest['after'])}")
        )
        if any(each["last"] == newest["after"] for each in facts["seen"]):
            found.append(
                ("", "earlier ones of the newest events are not compared on: the serving versions have seen them")
            )
        if "margin" in facts:
            already = f"; earlier versions have lost {facts['lost']:.1%}" if facts.get("lost") else ""
            found.append(("margin", f"a loss of up to {facts['margin']:.0%} of what serves is accepted{already}"))
        found.append(("compared", f"{newest['compared']:,} users, each on the first item there that was new to them"))
    if "policies" in facts:
        found.append(("policy", facts["policies"]))
    if carried := facts.get("carried"):
        found.append(("carried", f"on, as they were, policies fitted on logged outcomes: {', '.join(carried)}"))
    if replaced := facts.get("replaced"):
        found.append(("lost", f"fitted on logged outcomes, for training made others: {', '.join(replaced)}"))
    found.append(("begun", _day(facts["started"])))
    return found


def sections(facts: Facts) -> Iterator[Section]:
    """What there is to tell of this run."""
    if problems := facts.get("problems"):
        rows = [[each["name"], f"{each['count']:,}", "; ".join(each["examples"])] for each in problems]
        yield Section("Problems of the data", ["problem", "count", "for example"], rows)
    if compared := facts.get("compared"):
        columns = ["ranker", "users", "new", "serving", "difference", "95 % interval"]
        note = (
            "Full ranking without what the user knew; paired by user, by bootstrap over users. fused is what users get."
        )
        yield Section("NDCG@10 on what neither has seen", columns, list(map(_metrics, compared)), note)
    for title, name in (
        ("What the serving versions have seen", "seen"),
        ("What the new versions have seen", "candidate"),
    ):
        if facts.get(name):
            columns = ["model", "version", "recipe", "data", "split", "training events", "from", "until"]
            yield Section(title, columns, [_made_from(each, facts.get("published", {}), name) for each in facts[name]])
    if left_out := facts.get("left_out"):
        yield Section("Left out", ["model", "because"], list(left_out.items()))


def _metrics(row: dict[str, Any]) -> list[str]:
    means = ["" if row[name] is None else f"{row[name]:.4f}" for name in ("new", "serving")]
    differences = ["", ""]
    if row["difference"] is not None:
        differences = [f"{row['difference']:+.4f}", f"{row['low']:+.4f} to {row['high']:+.4f}"]
    return [row["ranker"], f"{row['users']:,}", *means, *differences]


def _made_from(seen: dict[str, Any], published: dict[str, int], name: str) -> list[str]:
    version = seen["version"] if name == "seen" else published.get(seen["model"], "not published")
    data = f"{seen['dataset']}, {seen['fingerprint'][:FINGERPRINT_CHARACTERS]}"
    until = (
        _day(seen["last"]) if seen["first"] else f"{_day(seen['last'])}, when it was made: its manifest has no times"
    )
    first = _day(seen["first"]) if seen["first"] else ""
    return [seen["model"], str(version), seen["recipe"], data, seen["split"], f"{seen['events']:,}", first, until]


def _span(first: int, last: int) -> str:
    return f"{_day(first)} to {_day(last)}"


def _day(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"
