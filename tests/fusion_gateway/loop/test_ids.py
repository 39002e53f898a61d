import time

import pytest

from fusion_gateway.events.stored_event import StoredEvent
from fusion_gateway.loop.ids import new_id, time_of, with_plausible_time


@pytest.mark.parametrize(("behind", "kept"), [(10, True), (50, True), (3600, False)])
def test_an_event_of_a_gateway_that_is_behind_still_follows_its_answer(behind: int, kept: bool) -> None:
    """But an id that claims to be of far in the future was made up."""
    id = new_id()
    event = StoredEvent("anna", "a", None, int(time.time()), type="click", recommendation_id=id)
    now = int(time.time()) - behind
    assert with_plausible_time(event, now).time == (int(time_of(id) or 0) if kept else now)
