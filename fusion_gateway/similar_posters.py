"""What models say of movies whose posters are like an image."""

from collections.abc import Sequence

from fusion_gateway.parsing import parse_image
from fusion_gateway.scorers.client import ScorerClient
from fusion_gateway.scorers.fan_out import RETRIEVE_SHARE, call_all
from fusion_gateway.scorers.missing import INVALID_ARGUMENT, ModelMissing
from fusion_gateway.scorers.scorer import Answer
from servers.runtime.deadline import Deadline
from servers.runtime.errors import InvalidArgument, Unavailable


async def similar_posters(
    image: bytes, count: int, scorers: Sequence[ScorerClient], deadline: Deadline
) -> tuple[dict[str, Answer], dict[str, ModelMissing]]:
    """The `count` items of each model that compares posters, and why others have none, by name.

    Raises InvalidArgument for an image that cannot be read, Unavailable where no model compares posters.
    """
    parse_image(image)
    able, _ = await call_all(
        scorers, lambda scorer, timeout: scorer.compares_posters(timeout), deadline, RETRIEVE_SHARE
    )
    comparing = [scorer for scorer in scorers if able.get(scorer.name)]
    if not comparing:
        names = ", ".join(scorer.name for scorer in scorers)
        raise Unavailable(f"image: no model compares posters, of {names}: train visual_temporal, and serve it")
    answers, missing = await call_all(
        comparing, lambda scorer, timeout: scorer.similar_poster(image, count, timeout), deadline
    )
    for why in missing.values():
        if why.reason == INVALID_ARGUMENT:
            raise InvalidArgument(f"image: {why.details}")
    return answers, missing
