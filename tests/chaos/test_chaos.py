"""The short version of `python -m tests.chaos`, on a tiny system."""

from pathlib import Path

from tests.chaos.killing import kill_and_restart
from tests.load import gateway, tiny_system
from tests.load.traffic import Traffic
from training.recipes import SCORERS


async def test_clients_notice_no_killed_model_server(tmp_path: Path) -> None:
    repository, data = tiny_system.publish(tmp_path / "repository"), tiny_system.write_events(tmp_path / "data")
    requests = gateway.prepare(Traffic(data, repository, seed=0), k=3, stored_history=False)
    groups = [["rating"], ["sequential", "visual_temporal"], list(SCORERS)]
    one, two, all_three = await kill_and_restart(repository, requests, groups, SCORERS, callers=4, seconds=1)
    for count in (one, two, all_three):
        assert count.failed == 0, count
        assert count.degraded > 0, count
        assert count.back_seconds is not None
        assert any(": circuit open" in reason for reason in count.reasons), count
    assert (one.popularity, two.popularity) == (0, 0)
    assert all_three.popularity > 0
