"""From a GetOutcomesRequest to what is to be read. Everything that is wrong with a request is found here."""

from dataclasses import dataclass

from fusion_gateway.events.event_types import STANDARD, EventTypes
from fusion_gateway.events.moments import moment
from fusion_gateway.loop.metrics import DAY, Metric, metric_named
from protos.marquee.v1 import recommender_pb2 as pb
from servers.runtime.errors import InvalidArgument

SINCE_DAYS = 7
MAX_DAYS = 366
PRECISION = 0.05
VERSION, COHORT, SCENARIO = "version", "cohort", "scenario"


@dataclass(frozen=True)
class OutcomesQuery:
    """A checked GetOutcomesRequest with its defaults filled in."""

    metric: Metric
    since: float
    until: float
    by: str
    control: str
    """Empty: the policy with the most answers of those that were drawn."""
    precision: float


def parse_outcomes_query(request: pb.GetOutcomesRequest, now: float, types: EventTypes = STANDARD) -> OutcomesQuery:
    """Raises InvalidArgument that names the field, what is wrong with it, and the limit."""
    until = request.until or int(now) + 1
    since = request.since or until - int(SINCE_DAYS * DAY)
    if not 0 <= since < until <= since + MAX_DAYS * DAY:
        raise InvalidArgument(
            f"since: must be before until, at most {MAX_DAYS} days, and not before 1970; "
            f"they are {moment(int(since))} and {moment(int(until))} (UTC)"
        )
    if request.by not in ("", VERSION, COHORT, SCENARIO):
        raise InvalidArgument(f"by: must be {VERSION}, {COHORT}, {SCENARIO} or empty, not {request.by!r}")
    precision = request.precision or PRECISION
    if not 0 < precision <= 1:
        raise InvalidArgument(f"precision: must be above 0 and at most 1, not {precision:g}")
    metric = metric_named(request.metric or "click", request.window_seconds or DAY, types)
    return OutcomesQuery(metric, since, until, request.by, request.control, precision)
