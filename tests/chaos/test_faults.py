"""The short form of `python -m tests.chaos faults`, on a tiny system."""

from pathlib import Path

from tests.chaos import faulting, faults, system
from tests.fusion_gateway.postgresql import postgresql

SHORT = ["a model server is stopped", "PostgreSQL is frozen"]


async def test_clients_notice_no_fault_and_lose_no_event(tmp_path: Path) -> None:
    chosen, skipped = faults.chosen(SHORT)
    with system.world(tmp_path, None, None) as world:
        if skipped:
            rows = await faulting.run(world, chosen, 1.5, None, lambda row: None)
        else:
            with postgresql() as database:
                rows = await faulting.run(world, chosen, 1.5, database, lambda row: None)
    # Latencies are for the command: what shares the machine with a test makes them long.
    not_met = [(row.fault, problem) for row in rows for problem in row.faults if problem != "slow calls"]
    assert not_met == []
    for row in rows:
        assert row.calls > 0
        assert row.written > 0
