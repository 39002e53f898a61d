"""From an answer to what the log keeps of it."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from fusion_gateway.loop.ids import time_of
from fusion_gateway.loop.reads import RECOMMEND
from fusion_gateway.loop.served import Served
from protos.marquee.v1 import recommender_pb2 as pb

SIMILAR = "SimilarItems"
LIST = "GetList"
Answer = pb.RecommendResponse | pb.SimilarItemsResponse | pb.GetListResponse


def recommended(request: pb.RecommendRequest, answer: pb.RecommendResponse) -> Served:
    """Of an answer that has its id."""
    return _served(
        answer,
        rpc=RECOMMEND,
        user_id=request.user_id,
        policy=answer.policy,
        policy_probability=answer.policy_probability,
        versions=_json(dict(answer.model_versions)),
        after=request.after,
        scenario=request.scenario,
    )


def listed(request: pb.GetListRequest, answer: pb.GetListResponse) -> Served:
    """Of an answer that has its id; it is no policy's."""
    nobodys = {"policy": "", "policy_probability": 1.0, "versions": "{}"}
    return _served(answer, rpc=LIST, user_id=request.user_id, after=request.after, **nobodys)


def similar(answer: pb.SimilarItemsResponse) -> Served:
    """Of an answer that has its id; it is nobody's, and no policy's."""
    return _served(answer, rpc=SIMILAR, user_id="", policy="", policy_probability=1.0, versions="{}")


def _served(answer: Answer, **rest: Any) -> Served:
    return Served(
        id=answer.recommendation_id,
        time=time_of(answer.recommendation_id) or 0.0,
        items=_json([ranked.item.id for ranked in answer.items]),
        scores=_numbers(ranked.score for ranked in answer.items),
        propensities=_numbers(ranked.propensity for ranked in answer.items),
        degraded=_json([each.component for each in answer.degraded]),
        **rest,
    )


def _json(value: list[str] | Mapping[str, int]) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _numbers(values: Iterable[float]) -> str:
    """As many digits as single precision has."""
    return f"[{','.join([f'{value:.9g}' for value in values])}]"
