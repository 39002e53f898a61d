"""The cost and overload programs on the tiny system."""

import asyncio
import json
from itertools import product
from pathlib import Path
from typing import Any

import grpc
import pytest
import typer
from typer.testing import CliRunner

from protos.marquee.v1.recommender_pb2 import RecommendResponse
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from servers.runtime.deadline import Deadline
from tests.load import gateway, gateway_cost, gateway_overload, scale, selectivity, serving_log_cost
from tests.load.conftest import Tiny
from tests.load.traffic import Traffic


def listed(answer: RecommendResponse) -> list[tuple[str, float]]:
    return [(item.item.id, round(item.score, 5)) for item in answer.items]


async def test_one_process_gives_the_answers_of_the_system(tiny: Tiny, tmp_path: Path) -> None:
    requests = gateway.prepare(Traffic(tiny.data, tiny.repository, 0), k=5, stored_history=False)
    for one_round_items in (0, 5000):
        async with (
            gateway_cost.in_process(tiny.repository, f"sqlite:///{tmp_path}/events.db", one_round_items) as recommender,
            grpc.aio.insecure_channel(tiny.gateway) as channel,
        ):
            stub = RecommenderStub(channel)
            served = await asyncio.gather(*(stub.Recommend(request) for request in requests))
            computed = [await recommender.recommend(request, Deadline.after(10)) for request in requests]
            assert [listed(answer) for answer in served] == [listed(answer) for answer in computed]
            assert all(answer.items for answer in served)


def run(app: typer.Typer, tiny: Tiny, report: Path, *arguments: str) -> tuple[str, list[Any]]:
    """What a program prints, and the rows that it writes."""
    shared = [f"--data={tiny.data}", f"--repository={tiny.repository}", f"--json={report}"]
    shared += ["--duration=0.3", "--warm-up=0.1"]
    shown = CliRunner().invoke(app, [*shared, *arguments], catch_exceptions=False)
    assert shown.exit_code == 0
    return shown.output, json.loads(report.read_text())["rows"]


def test_costs_are_shown_and_written(tiny: Tiny, tmp_path: Path) -> None:
    shown, rows = run(gateway_cost.app, tiny, tmp_path / "cost.json", "--rounds=1", "--concurrency=2")
    assert "in one process" in shown
    assert [(row["what"], row["callers"]) for row in rows] == [("in one process", 1), ("gRPC", 2)]
    assert all(0 < row["gateway_ms"] <= row["cpu_ms"] for row in rows)


def test_the_logs_cost_is_shown_and_written(tiny: Tiny, tmp_path: Path) -> None:
    shown, rows = run(serving_log_cost.app, tiny, tmp_path / "log.json", "--rounds=2", "--callers=2")
    assert "with log" in shown
    assert [row["round"] for row in rows] == [0, 1]
    assert all(row["without_log"] > 0 < row["with_log"] for row in rows)


def test_filters_are_measured(tmp_path: Path) -> None:
    """At a size at which the index is used, and some filters are told to the model server."""
    written = tmp_path / "selectivity.json"
    arguments = ["--items=6000", "--users=3", "--shares=0.01,0.5", f"--folder={tmp_path}", f"--json={written}"]
    shown = CliRunner().invoke(selectivity.app, arguments, catch_exceptions=False)
    assert "lowest" in shown.output
    rows = json.loads(written.read_text())["rows"]
    filters = [(row["kind"], row["share"]) for row in rows]
    assert filters == [("none", 1), *product(selectivity.KINDS, (0.01, 0.5))]
    assert all(row["recall"] == 1 for row in rows if row["share"] == 0.01)
    assert all(row["recall"] > 0.9 and row["p50_ms"] > 0 for row in rows)


def test_cost_by_the_number_of_items_is_shown_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "BASELINE_SECONDS", 0.1)
    written, picture = tmp_path / "scale.json", tmp_path / "scale.png"
    arguments = ["--items=5k,6k", "--users=2", f"--folder={tmp_path}", f"--json={written}", f"--picture={picture}"]
    shown = CliRunner().invoke(scale.app, arguments, catch_exceptions=False)
    assert "SimilarItems: CPU ms" in shown.output
    rows = json.loads(written.read_text())["rows"]
    assert [row["items"] for row in rows] == [5000, 6000]
    for row in rows:
        assert all(call["cpu"] > 0 < call["p50"] <= call["p99"] for call in row["calls"].values())
        assert row["gateway"]["peak_mib"] <= row["reload"]["peak_mib"]
        assert row["reload"]["seconds"] > 0 < row["reload"]["longest"]
    assert picture.stat().st_size > 0


def test_overload_is_shown_and_written(tiny: Tiny, tmp_path: Path) -> None:
    shown, rows = run(gateway_overload.app, tiny, tmp_path / "over.json", "--shares=50,120", "--callers=2")
    assert "of the best rate" in shown
    assert len(rows) == 3
