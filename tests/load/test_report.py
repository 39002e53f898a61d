import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.load.arrivals import Load, Outcome, Run
from tests.load.report import QUANTILES, document, quantiles, row, show


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_a_quantile_is_the_smallest_value_that_covers_its_share(values: list[float]) -> None:
    for name, quantile in quantiles(values).items():
        covered = sum(value <= quantile for value in values)
        below = sum(value < quantile for value in values)
        assert quantile in values
        assert covered >= QUANTILES[name] * len(values) - 1e-9
        assert below < QUANTILES[name] * len(values) + 1e-9


def test_quantiles_of_a_known_list() -> None:
    assert quantiles([float(each) for each in range(1, 101)]) == {
        "p50": 50,
        "p90": 90,
        "p95": 95,
        "p99": 99,
        "max": 100,
    }
    assert quantiles([]) == {}


def test_a_row_counts_only_answers_and_names_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = [Outcome("OK", 0.010, 0.001), Outcome("OK", 0.030), Outcome("UNAVAILABLE", 9.0)]
    found = row("rating unary", Load(rate=1.5), Run(outcomes, seconds=2), {"queue": 0.25})
    assert (found.load, found.calls, found.ok, found.per_second) == ("1.5/s", 3, 2, 1)
    assert found.errors == {"UNAVAILABLE": 1}
    assert found.latency_ms["p50"] == pytest.approx(10)
    assert found.latency_ms["max"] == pytest.approx(30)
    show([found])
    printed = capsys.readouterr().out
    assert "1 × UNAVAILABLE" in printed
    assert "queue 0.25" in printed


def test_json_names_machine_and_commit() -> None:
    outcomes = [Outcome("UNAVAILABLE", 0.1)]
    found = json.loads(document([row("gateway", Load(callers=8), Run(outcomes, seconds=1), {})]))
    assert found.keys() == {"command", "date", "commit", "machine", "rows"}
    assert found["rows"][0]["load"] == "8 callers"
    assert found["rows"][0]["latency_ms"] == {}
