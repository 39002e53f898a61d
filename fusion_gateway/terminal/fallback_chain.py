"""python -m fusion_gateway.fallback_chain: every stage of the fallback chain, as a running gateway answers it."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

import typer

from fusion_gateway.terminal import tables
from fusion_gateway.terminal.client import DEFAULT_ADDRESS, Address, gateway
from protos.marquee.v1 import recommender_pb2 as pb
from servers.runtime.command_line import App

app = App()
MAX_HISTORY = 1000
"""What a request can bring: of a longer history, its newest events."""


def stages(
    user: str, events: Sequence[pb.Event], profile: pb.Profile, models: Iterable[str]
) -> Iterator[tuple[str, pb.RecommendRequest]]:
    """A title and a request for each, from all that can be known of a user to nothing. `events` are oldest first."""
    yield f"User {user}, known and with a stored history", pb.RecommendRequest(user_id=user)
    yield "The same history from a user nobody knows", pb.RecommendRequest(history=events)
    yield "The last three of these events only", pb.RecommendRequest(history=events[-3:])
    facts = pb.Profile()
    facts.CopyFrom(profile)
    facts.ClearField("liked_genres")
    known = ", ".join(f"{fact.name} {value}" for fact, value in facts.ListFields())
    yield f"A profile alone: {known}", pb.RecommendRequest(profile=facts)
    yield f"A profile that likes {', '.join(profile.liked_genres)}", pb.RecommendRequest(profile=profile)
    yield "Nothing at all", pb.RecommendRequest()
    yield "Nothing, and no model counts", pb.RecommendRequest(weights=dict.fromkeys(models, 0.0))


@app.command(epilog="Example: python -m fusion_gateway.fallback_chain --user 42 --age 25 --liked Comedy,Drama")
def main(
    user: Annotated[str, typer.Option(help="A user with a stored history.")],
    age: Annotated[int, typer.Option(help="Of the profile.")] = 25,
    gender: Annotated[str, typer.Option(help="Of the profile.")] = "F",
    occupation: Annotated[str, typer.Option(help="Of the profile.")] = "student",
    liked: Annotated[str, typer.Option(help="Genres of the profile, with commas between.")] = "Comedy",
    k: Annotated[int, typer.Option("-k", help="Number of movies for each stage.")] = 5,
    address: Address = DEFAULT_ADDRESS,
) -> None:
    """Prints what each stage of the fallback chain recommends, and why."""
    profile = pb.Profile(age=age, gender=gender, occupation=occupation, liked_genres=filter(None, liked.split(",")))
    with gateway(address) as stub:
        stored = stub.GetHistory(pb.GetHistoryRequest(user_id=user, limit=MAX_HISTORY)).events
        models = [model.name for model in stub.GetStatus(pb.GetStatusRequest()).models]
        for title, request in stages(user, stored[::-1], profile, models):
            request.k, request.explain = k, True
            tables.console().print(tables.recommendations(stub.Recommend(request), title, reasons=True), "")
