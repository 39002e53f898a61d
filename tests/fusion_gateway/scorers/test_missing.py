"""What the log and the metrics say of models that are missing."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import structlog
from prometheus_client import REGISTRY

from fusion_gateway.scorers.fan_out import call_all
from fusion_gateway.scorers.missing import CIRCUIT_OPEN, MAX_CHARACTERS, Absences, ModelMissing
from fusion_gateway.scorers.scorer import Answer
from servers.runtime.deadline import Deadline


@pytest.fixture
def lines() -> Any:
    with structlog.testing.capture_logs() as captured:
        yield captured


def logged(lines: list[Any]) -> list[tuple[str, str]]:
    return [(line["event"], line.get("reason", "")) for line in lines]


def test_one_line_at_a_change_and_a_count_at_all_times(lines: list[Any]) -> None:
    now = 0.0
    absences = Absences(lambda: now)
    away, left_alone = (
        ModelMissing("unavailable", "10.0.0.1: refused", tells_addresses=True),
        ModelMissing(CIRCUIT_OPEN),
    )
    for why in (away, away, left_alone, left_alone):
        absences.note({"tried": why}, {"other"})
        now += 2
    assert logged(lines) == [("model missing", "unavailable")]
    assert (lines[0]["details"], str(away)) == ("10.0.0.1: refused", "unavailable")
    absences.note({"tried": ModelMissing("unreadable answer", "no score")}, {"other"})
    now += 2
    for _ in range(3):
        absences.note({}, {"tried", "other"})
    assert logged(lines)[1:] == [("model missing", "unreadable answer"), ("model is back", "")]
    assert lines[2]["missing_seconds"] == 10
    counted = [
        REGISTRY.get_sample_value("marquee_missing_models_total", {"model": "tried", "reason": reason})
        for reason in ("unavailable", CIRCUIT_OPEN, "unreadable answer")
    ]
    assert counted == [2, 2, 1]


def test_a_model_that_comes_and_goes_has_a_line_a_second(lines: list[Any]) -> None:
    now = 0.0
    absences = Absences(lambda: now)
    for _ in range(200):
        absences.note({"tried": ModelMissing("deadline exceeded")}, ())
        absences.note({}, {"tried"})
        now += 0.02
    assert 2 <= len(lines) <= 8  # two at most in each of four seconds


def test_what_others_say_is_cut() -> None:
    assert len(str(ModelMissing("internal", "x" * 10_000))) < 2 * MAX_CHARACTERS


async def test_a_fault_of_ours_costs_one_model_and_is_logged_with_its_traceback_once(lines: list[Any]) -> None:
    async def call(scorer: Any, timeout: float) -> Answer:
        if scorer.name == "broken":
            raise ValueError("not planned for")
        return Answer(np.array([1]), np.array([0.5], np.float32), 7)

    absences = Absences(lambda: 0.0)
    for _ in range(3):
        scorers: list[Any] = [SimpleNamespace(name="broken"), SimpleNamespace(name="whole")]
        answers, failures = await call_all(scorers, call, Deadline.after(1))
        absences.note(failures, answers)
    assert (list(answers), str(failures["broken"])) == (["whole"], "unexpected error")
    [line] = lines
    assert isinstance(line["exc_info"], ValueError)
