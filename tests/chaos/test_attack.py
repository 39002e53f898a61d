"""The short form of `python -m tests.chaos attack`: attacks that take a second, on one tiny system."""

from pathlib import Path

from tests.chaos import attacking, system

SHORT = [
    "gateway: gzip bombs",
    "gateway: no protobuf",
    "rating: tensors of",
    "deep JSON",
    "candidates",
    "half way",
    "rating: answers nobody takes",
    "NUL in ids",
    "GOAWAY",
    "resets, metrics",
    "half an index",
    "int x",
]


def test_a_well_behaved_client_notices_no_attack(tmp_path: Path) -> None:
    with system.world(tmp_path, None, None) as world:
        rows = attacking.run(world, attacking.chosen(SHORT), quiet_seconds=0.5, on_row=lambda row: None)
    assert len(rows) >= len(SHORT)
    # Latencies are for the command: what shares the machine with a test makes them long.
    not_met = [(row.victim, row.attack, fault) for row in rows for fault in row.faults if fault != "p99"]
    assert not_met == []
