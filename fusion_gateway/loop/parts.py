"""Parts into which a policy's answers are divided: by versions of models, by scenario, or by how much was known of the
user.
"""

from collections.abc import AsyncIterator, Collection, Sequence

import sqlalchemy as sa

from fusion_gateway.events.schema import EVENTS
from fusion_gateway.loop.databases import Databases, readable
from fusion_gateway.loop.joined import ANSWERS_PER_PAGE, Joined
from fusion_gateway.loop.outcomes_query import COHORT, SCENARIO, VERSION, OutcomesQuery
from fusion_gateway.loop.together import Together

COHORTS = {0: "0 events", 5: "1 to 5", 20: "6 to 20", 50: "21 to 50", 200: "51 to 200"}
"""By their largest number of events; the same as in the reports of training."""
LARGEST_COHORT = "more than 200"


async def in_parts(
    answers: AsyncIterator[Joined],
    query: OutcomesQuery,
    databases: Databases,
    history: Collection[str],
    together: Together,
) -> AsyncIterator[tuple[Joined, str]]:
    """Each answer with the name of its part."""
    async for page in _pages(answers):
        cohorts: dict[str, str] = {}
        if query.by == COHORT:
            cohorts = await _cohorts(databases, page, query.since, history)
        for answer in page:
            if query.by == VERSION:
                yield answer, together.versions(answer.policy, answer.time)
            elif query.by == SCENARIO:
                yield answer, answer.scenario
            else:
                yield answer, cohorts.get(answer.user_id, "")


async def _pages(answers: AsyncIterator[Joined]) -> AsyncIterator[list[Joined]]:
    page: list[Joined] = []
    async for answer in answers:
        page.append(answer)
        if len(page) == ANSWERS_PER_PAGE:
            yield page
            page = []
    yield page


async def _cohorts(
    databases: Databases, answers: Sequence[Joined], since: float, history: Collection[str]
) -> dict[str, str]:
    """Of the users of these answers, by the events that they had before: an experiment cannot change those."""
    users = {answer.user_id for answer in answers}
    counted = (
        sa.select(EVENTS.c.user_id, sa.func.count())
        .where(EVENTS.c.user_id.in_(users), EVENTS.c.time < since, EVENTS.c.type.in_(history))
        .group_by(EVENTS.c.user_id)
    )
    async with readable(), databases.events.connect() as connection:
        counts = {user: count for user, count in await connection.execute(counted)}
    return {user: _cohort(counts.get(user, 0)) for user in users}


def _cohort(events: int) -> str:
    return next((name for largest, name in COHORTS.items() if events <= largest), LARGEST_COHORT)
