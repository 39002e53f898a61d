"""What the log and the metrics say of models that are missing."""

from typing import Any

import pytest
import structlog
from prometheus_client import REGISTRY

from fusion_gateway.missing import CIRCUIT_OPEN, MOST_CHARACTERS, Absences, ModelMissing


@pytest.fixture
def lines() -> Any:
    with structlog.testing.capture_logs() as captured:
        yield captured


def told(lines: list[Any]) -> list[tuple[str, str]]:
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
    assert told(lines) == [("model missing", "unavailable")]
    assert (lines[0]["details"], str(away)) == ("10.0.0.1: refused", "unavailable")
    absences.note({"tried": ModelMissing("unreadable answer", "no score")}, {"other"})
    now += 2
    for _ in range(3):
        absences.note({}, {"tried", "other"})
    assert told(lines)[1:] == [("model missing", "unreadable answer"), ("model is back", "")]
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
    assert len(str(ModelMissing("internal", "x" * 10_000))) < 2 * MOST_CHARACTERS
