"""Which logged answers tell of other policies."""

import time
from pathlib import Path

from fusion_gateway.events.store import EventStore
from fusion_gateway.loop.log import ServedLog
from fusion_gateway.loop.metrics import metric_named
from tests.fusion_gateway.loop.test_log import answer
from training.off_policy.answers import Source, read_answers


async def test_answers_of_scenarios_are_left_out(tmp_path: Path) -> None:
    """A pin or a boost of theirs is in no propensity."""
    url = f"sqlite:///{tmp_path}/events.db"
    log, store = ServedLog(url), EventStore(url, 10)
    await store.open()
    await log.open()
    for scenario in ("", "home", ""):
        log.add(answer("ab", age=60)._replace(scenario=scenario, propensities="[0.5,0.5]"))
    await log.close()
    await store.close()
    source = Source(url, url, metric_named("click"), 0.0, time.time(), 10)
    found = await read_answers(source, {"a": 0, "b": 1})
    assert len(found.user_id) == 2
    assert found.left_out == {"of a scenario": 1}
