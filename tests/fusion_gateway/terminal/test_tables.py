"""Answers as tables."""

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console, RenderableType

from fusion_gateway.terminal.tables import events, neighbours, recommendations
from protos.marquee.v1 import recommender_pb2 as pb

MODELS = ("rating", "sequential", "visual_temporal", "linear", "popularity")


def shown(table: RenderableType, width: int = 160) -> str:
    text = io.StringIO()
    Console(file=text, width=width).print(table)
    return text.getvalue()


def answer(*retrieved_by: str, item: pb.Item | None = None) -> pb.RecommendResponse:
    contributions = [pb.Contribution(model=model, contribution=n / 10) for n, model in enumerate(MODELS)]
    explained = pb.Explanation(retrieved_by=retrieved_by, contributions=contributions)
    ranked = pb.RankedItem(item=item or pb.Item(title="Fargo"), rank=1, score=1.5, explanation=explained)
    return pb.RecommendResponse(items=[ranked], model_versions={"rating": 1, "sequential": 2})


@pytest.mark.parametrize(
    ("retrieved_by", "said"), [(["rating", "sequential"], ""), (["sequential"], "; retrieved by sequential")]
)
def test_only_an_item_that_not_all_retrieved_says_who_did(retrieved_by: list[str], said: str) -> None:
    parts = "popularity +0.40, linear +0.30, visual_temporal +0.20, sequential +0.10"
    [line] = [line.strip() for line in shown(recommendations(answer(*retrieved_by))).splitlines() if "linear" in line]
    assert line == parts + said


@pytest.mark.parametrize("id", ["1", "9c1c8a9e-3d3a-4a53-9b55-2f6d3a5b1c77", "x" * 256])
def test_long_titles_and_ids_are_whole_at_80_columns(id: str) -> None:
    title = " ".join(f"word{n}" for n in range(40))
    text = shown(recommendations(answer("rating", item=pb.Item(id=id, title=title, year=1999))), 80)
    assert max(map(len, text.splitlines())) <= 80
    assert all(word in text.split() for word in [*title.split(), "(1999)", "1.500"])
    assert id in text or text.count("x") == len(id)


def test_markup_in_a_title_is_text() -> None:
    assert "[bold]Fargo[/]" in shown(recommendations(answer(item=pb.Item(title="[bold]Fargo[/]"))))


def test_times_of_events_are_readable_as_far_as_they_are_dates() -> None:
    date = int(datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC).timestamp())
    history = pb.GetHistoryResponse(events=[pb.Event(time=date), pb.Event(time=1 << 40)])
    text = shown(events(history, [], "1"))
    assert "2001-02-03 04:05:06" in text
    assert str(1 << 40) in text


def test_an_item_that_nothing_is_like_says_so() -> None:
    query = pb.Item(id="7", title="Alone")
    assert "nothing is known to be like it" in shown(neighbours(pb.SimilarItemsResponse(query=query)))


def test_neighbours_out_of_order_say_why() -> None:
    items = [pb.RankedItem(score=0.4), pb.RankedItem(score=0.9)]
    note = "movies of the same director, which come first"
    assert note in shown(neighbours(pb.SimilarItemsResponse(items=items)))
    assert note not in shown(neighbours(pb.SimilarItemsResponse(items=items[::-1])))
