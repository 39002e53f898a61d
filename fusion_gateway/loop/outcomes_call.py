"""GetOutcomes: one report at a time, beside the calls of everybody else."""

import asyncio
import time

from fusion_gateway.loop.databases import opened
from fusion_gateway.loop.outcomes import Outcomes
from fusion_gateway.loop.outcomes_query import parse_outcomes_query
from fusion_gateway.settings import ServingLogSettings
from protos.marquee.v1 import recommender_pb2 as pb
from servers.runtime.deadline import Deadline
from servers.runtime.errors import (
    ConfigurationError,
    DeadlineExceeded,
    FailedPrecondition,
    Overloaded,
    Unavailable,
)

MAX_SECONDS = 60.0
"""Of one report; the command has all the time it takes."""


class OutcomesCall:
    """Reads with connections of its own, which are opened for each report: it never has one that others wait for."""

    def __init__(self, chosen: ServingLogSettings) -> None:
        self._log = "" if chosen.serving_log == "off" else chosen.serving_log or chosen.event_store
        self._events, self._types = chosen.event_store, chosen.event_types()
        self._is_busy = False

    async def report(self, request: pb.GetOutcomesRequest, control: str, deadline: Deadline) -> pb.GetOutcomesResponse:
        """`control` is the policy where the request names none, if it was drawn then.

        Raises InvalidArgument, FailedPrecondition without a log, Overloaded, DeadlineExceeded and Unavailable.
        """
        if not self._log:
            raise FailedPrecondition("this gateway keeps no log of what it served (--serving-log off)")
        query = parse_outcomes_query(request, time.time(), self._types)
        if self._is_busy:
            raise Overloaded("another report of outcomes is being made; try again later")
        self._is_busy = True
        outcomes = Outcomes(query, self._types, control)
        try:
            async with asyncio.timeout(deadline.sooner(MAX_SECONDS).remaining()):
                async with opened(self._log, self._events) as databases:
                    return await outcomes.read(databases)
        except TimeoutError:
            raise DeadlineExceeded(
                f"{outcomes.answers} answers were read in time; give it longer (at most {MAX_SECONDS:g} s), request a "
                "later `since`, or run `python -m fusion_gateway outcomes`"
            ) from None
        except ConfigurationError as error:
            raise Unavailable(str(error)) from None
        finally:
            self._is_busy = False
