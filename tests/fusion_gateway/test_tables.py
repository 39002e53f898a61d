"""Answers as tables."""

import pytest

from fusion_gateway.tables import recommendations
from protos.marquee.v1 import recommender_pb2 as pb


def answer(*retrieved_by: str) -> pb.RecommendResponse:
    explained = pb.Explanation(retrieved_by=retrieved_by)
    item = pb.RankedItem(item=pb.Item(title="Fargo"), rank=1, score=1, explanation=explained)
    return pb.RecommendResponse(items=[item], model_versions={"rating": 1, "sequential": 2})


@pytest.mark.parametrize(
    ("retrieved_by", "shown"), [(["rating", "sequential"], "all"), (["sequential"], "sequential"), ([], "")]
)
def test_who_retrieved_an_item_is_shown_shortly(retrieved_by: list[str], shown: str) -> None:
    table = recommendations(answer(*retrieved_by))
    assert list(table.columns[-1].cells) == [shown]
