"""python -m fusion_gateway.client: calls a gateway from a terminal."""

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import grpc
import typer
from google.protobuf import json_format
from google.protobuf.message import Message
from rich.console import RenderableType

from fusion_gateway.access import METADATA, SCHEME
from fusion_gateway.terminal import tables
from protos.marquee.addresses import checked_address
from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from servers.runtime import channels
from servers.runtime.command_line import App
from servers.runtime.errors import MarqueeError
from servers.runtime.request_ids import METADATA as REQUEST_ID
from servers.runtime.terminal import printable
from servers.runtime.tls import client_credentials

M = TypeVar("M", bound=Message)


def _checked(address: str) -> str:
    try:
        return checked_address(address)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


USER, FILTERS, LIST, CONNECT = "User", "Filters", "The list", "Connection and output"
"""Groups of options in --help."""
Token = Annotated[str, typer.Option(envvar="MARQUEE_TOKEN", help="Bearer token; best given in the environment.")]
Authority = Annotated[Path | None, typer.Option(envvar="MARQUEE_CA", help="PEM authorities of the gateway: use TLS.")]
Certificate = Annotated[Path | None, typer.Option(help="PEM certificate, for a gateway that asks clients for one.")]
Key = Annotated[Path | None, typer.Option(help="PEM private key of the certificate.")]
Address = Annotated[
    str,
    typer.Option(envvar="MARQUEE_ADDRESS", callback=_checked, help="The gateway's host:port.", rich_help_panel=CONNECT),
]
Timeout = Annotated[float, typer.Option(help="Seconds to wait for an answer.", rich_help_panel=CONNECT)]
AsJson = Annotated[bool, typer.Option("--json", help="Print the reply as JSON.", rich_help_panel=CONNECT)]
User = Annotated[str, typer.Option(help="User id.")]
Count = Annotated[int | None, typer.Option("-k", "--k", help="Number of movies.", show_default="10")]
DEFAULT_ADDRESS, DEFAULT_TIMEOUT = "127.0.0.1:8001", 10.0

app = App(
    no_args_is_help=True,
    epilog="Example: python -m fusion_gateway.client recommend --user 42 -k 5",
)


@app.callback()
def connection(token: Token = "", ca: Authority = None, certificate: Certificate = None, key: Key = None) -> None:
    """Calls a gateway from a terminal."""
    CONNECTION.set(Connection(token, ca, certificate, key))


@dataclass(frozen=True)
class Connection:
    """How calls are protected, and how the caller is known."""

    token: str = ""
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def channel(self, address: str) -> grpc.Channel:
        credentials = client_credentials(self.ca, self.certificate, self.key)
        if credentials:
            opened = grpc.secure_channel(address, credentials, channels.OPTIONS)
        else:
            opened = grpc.insecure_channel(address, channels.OPTIONS)
        return grpc.intercept_channel(opened, _Authorization(self.token)) if self.token else opened


CONNECTION: ContextVar[Connection] = ContextVar("connection", default=Connection())  # noqa: B039
"""Set before every command, from the options in front of its name."""


class _Authorization(grpc.UnaryUnaryClientInterceptor):
    """Shows the token on every call."""

    def __init__(self, token: str) -> None:
        self._metadata = (METADATA, SCHEME + token)

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        metadata = [*(client_call_details.metadata or ()), self._metadata]
        return continuation(client_call_details._replace(metadata=metadata), request)


@app.command(
    epilog="Example: python -m fusion_gateway.client recommend --history 50,181:4.5 --genres Comedy,Drama -k 5"
)
def recommend(
    user: Annotated[str, typer.Option(help="User id; leave out for an anonymous user.", rich_help_panel=USER)] = "",
    history: Annotated[
        str,
        typer.Option(
            help="Instead of the stored history, item ids, oldest first: 50,181,1 or with ratings 50:4,181:5; "
            """or JSON, for any id: '[{"item_id": "a,b:1", "rating": 4}]'.""",
            rich_help_panel=USER,
        ),
    ] = "",
    liked: Annotated[str, typer.Option(help="Without a history: liked genres.", rich_help_panel=USER)] = "",
    age: Annotated[int | None, typer.Option(help="Without a history: age in years.", rich_help_panel=USER)] = None,
    gender: Annotated[str, typer.Option(help="Without a history: as the data has it.", rich_help_panel=USER)] = "",
    occupation: Annotated[str, typer.Option(help="Without a history: as the data has it.", rich_help_panel=USER)] = "",
    zip_code: Annotated[str, typer.Option("--zip", help="Without a history: postal code.", rich_help_panel=USER)] = "",
    genres: Annotated[str, typer.Option(help="At least one of these: Comedy,Drama.", rich_help_panel=FILTERS)] = "",
    not_genres: Annotated[str, typer.Option(help="None of these.", rich_help_panel=FILTERS)] = "",
    year_min: Annotated[int | None, typer.Option(help="This year or later.", rich_help_panel=FILTERS)] = None,
    year_max: Annotated[int | None, typer.Option(help="This year or earlier.", rich_help_panel=FILTERS)] = None,
    items: Annotated[str, typer.Option(help="Only these item ids: 50,181.", rich_help_panel=FILTERS)] = "",
    not_items: Annotated[str, typer.Option(help="None of these item ids.", rich_help_panel=FILTERS)] = "",
    where: Annotated[
        str,
        typer.Option(
            help="""A condition on attributes, as JSON: '{"range": {"attribute": "year", "min": 1990}}'.""",
            rich_help_panel=FILTERS,
        ),
    ] = "",
    seen: Annotated[
        bool, typer.Option("--seen", help="Movies of the history may come back.", rich_help_panel=FILTERS)
    ] = False,
    exclude_served: Annotated[
        int,
        typer.Option(help="None that the user was recommended within so many seconds.", rich_help_panel=FILTERS),
    ] = 0,
    k: Annotated[
        int | None, typer.Option("-k", "--k", help="Number of movies.", show_default="10", rich_help_panel=LIST)
    ] = None,
    after: Annotated[str, typer.Option(help="The page after this answer, by its id.", rich_help_panel=LIST)] = "",
    policy: Annotated[
        str, typer.Option(help="Fusion policy; status lists them.", show_default="the published", rich_help_panel=LIST)
    ] = "",
    scenario: Annotated[
        str, typer.Option(help="Of the policies file; status lists them.", show_default="none", rich_help_panel=LIST)
    ] = "",
    weights: Annotated[
        str,
        typer.Option(
            help="Of models, in place of the policy's: rating=0.7,sequential=0.3.",
            rich_help_panel=LIST,
        ),
    ] = "",
    diversity: Annotated[
        float | None,
        typer.Option(help="0 (score only) to 1 (diversity only).", show_default="0", rich_help_panel=LIST),
    ] = None,
    max_per_genre: Annotated[
        int | None, typer.Option(help="Maximum number of movies of any one genre.", rich_help_panel=LIST)
    ] = None,
    exploration: Annotated[
        float | None,
        typer.Option(help="Share of the list that is drawn at random, 0 to 1.", show_default="0", rich_help_panel=LIST),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Makes the draw repeatable.", rich_help_panel=LIST)] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say why, in words.", rich_help_panel=LIST)] = False,
    as_json: AsJson = False,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Movies for a user: known, unknown with a history, or anonymous."""
    request = pb.RecommendRequest(
        user_id=user,
        k=k,
        history=_history(history),
        weights=_weights(weights),
        policy=policy,
        scenario=scenario,
        filters=pb.Filters(
            genres_any=_split(genres),
            genres_none=_split(not_genres),
            year_min=year_min,
            year_max=year_max,
            item_ids_in=_split(items),
            item_ids_out=_split(not_items),
            expression=_expression(where) if where else None,
        ),
        profile=pb.Profile(age=age, gender=gender, occupation=occupation, zip=zip_code, liked_genres=_split(liked)),
        diversity=diversity,
        max_per_genre=max_per_genre,
        exploration=exploration,
        seed=seed,
        exclude_seen=not seen,
        explain=explain or not as_json,
        after=after,
        exclude_served_seconds=exclude_served,
    )
    with gateway(address) as stub:
        response = stub.Recommend(request, timeout=timeout)
    options = {"--genres": genres, "--not-genres": not_genres, "--year-min": year_min, "--year-max": year_max}
    options |= {"--items": items, "--not-items": not_items, "--where": where, "--exclude-served": exclude_served}
    filters = " ".join(f"{option} {value}" for option, value in options.items() if value)
    _show(response, as_json, lambda: tables.recommendations(response, user=user, filters=filters, reasons=explain))


@app.command(epilog='Example: python -m fusion_gateway.client similar "the prestige" -k 5')
def similar(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="TITLE", help="A title, more or less; or use --item.")
    ] = None,
    item: Annotated[str, typer.Option(help="An item id.")] = "",
    image: Annotated[
        Path | None, typer.Option(help="A picture, such as a poster: movies with posters like it.", dir_okay=False)
    ] = None,
    k: Count = None,
    weights: Annotated[str, typer.Option(help="For example rating=1,genres=0.5,director=1.")] = "",
    by_places: Annotated[
        bool, typer.Option("--by-places", help="Weights share out the places of the list, one kind after the other.")
    ] = False,
    as_json: AsJson = False,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Movies like a movie, or with posters like a picture."""
    title = " ".join(words or [])
    given = {"title": title, "item_id": item, "image": _content(image) if image else None}
    named = {field: value for field, value in given.items() if value}
    if len(named) != 1:
        raise typer.BadParameter("give one of a title, --item and --image")
    query = pb.SimilarItemsRequest(k=k, weights=_weights(weights), by_places=by_places)
    for field, value in named.items():
        setattr(query, field, value)
    with gateway(address) as stub:
        response = stub.SimilarItems(query, timeout=timeout)
    _show(response, as_json, lambda: tables.neighbours(response))


@app.command("list", epilog="Example: python -m fusion_gateway.client list trending -k 5")
def show_list(
    name: Annotated[str, typer.Argument(help="trending, popular, new, top-rated, or one of editors.")],
    user: Annotated[str, typer.Option(help="Without what this user has watched.")] = "",
    genres: Annotated[str, typer.Option(help="At least one of these: Comedy,Drama.")] = "",
    where: Annotated[str, typer.Option(help="A condition on attributes, as JSON; as of recommend.")] = "",
    k: Count = None,
    after: Annotated[str, typer.Option(help="The page after this answer, by its id.")] = "",
    as_json: AsJson = False,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """A list that is the same for everybody: what trends, what is popular, new or top-rated, or what editors chose."""
    filters = pb.Filters(genres_any=_split(genres), expression=_expression(where) if where else None)
    request = pb.GetListRequest(name=name, user_id=user, filters=filters, k=k, after=after)
    with gateway(address) as stub:
        response = stub.GetList(request, timeout=timeout)
    _show(response, as_json, lambda: tables.listed(response))


@app.command(epilog='Example: python -m fusion_gateway.client search "the last"')
def search(
    words: Annotated[
        list[str], typer.Argument(metavar="TITLE", help="A title, more or less; or, with --semantic, what it is about.")
    ],
    k: Count = None,
    semantic: Annotated[bool, typer.Option("--semantic", help="By what movies are about, not by titles.")] = False,
    as_json: AsJson = False,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Movies by title, as you remember it, or by what they are about."""
    with gateway(address) as stub:
        request = pb.SearchItemsRequest(title=" ".join(words), k=k, semantic=semantic)
        response = stub.SearchItems(request, timeout=timeout)
    _show(response, as_json, lambda: tables.matches(response))


@app.command(epilog="Example: python -m fusion_gateway.client record --user 42 --item 181 --rating 4.5")
def record(
    user: User,
    item: Annotated[str, typer.Option(help="Item id.")],
    rating: Annotated[float | None, typer.Option(help="On the data's own scale; none: watched, not rated.")] = None,
    time: Annotated[int | None, typer.Option(help="Unix seconds.", show_default="now")] = None,
    event_id: Annotated[str, typer.Option(help="Makes it safe to send the event again.")] = "",
    event_type: Annotated[
        str,
        typer.Option("--type", help="view, click, like, dislike, purchase, impression, dismiss.", show_default="view"),
    ] = "",
    recommendation: Annotated[str, typer.Option(help="Id of the answer that the movie was in.")] = "",
    value: Annotated[float | None, typer.Option(help="Such as seconds watched, or the price.")] = None,
    as_json: AsJson = False,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Stores what a user did: watched, and perhaps rated, a movie, clicked on it, dismissed it."""
    event = pb.Event(event_id=event_id, user_id=user, item_id=item, rating=rating, time=time)
    event.MergeFrom(pb.Event(type=event_type, recommendation_id=recommendation, value=value))
    with gateway(address) as stub:
        response = stub.RecordEvents(pb.RecordEventsRequest(events=[event]), timeout=timeout)
        items = stub.GetItems(pb.GetItemsRequest(item_ids=[item]), timeout=timeout).items
    _show(response, as_json, lambda: tables.recorded(response, items, item))


@app.command(epilog="Example: python -m fusion_gateway.client history --user 42 --limit 20")
def history(
    user: User,
    limit: Annotated[int | None, typer.Option(help="Number of events.", show_default="100")] = None,
    as_json: AsJson = False,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """What is stored about a user, newest first."""
    with gateway(address) as stub:
        response = stub.GetHistory(pb.GetHistoryRequest(user_id=user, limit=limit), timeout=timeout)
        ids = list(dict.fromkeys(event.item_id for event in response.events))
        items = stub.GetItems(pb.GetItemsRequest(item_ids=ids), timeout=timeout).items if ids else []
    _show(response, as_json, lambda: tables.events(response, items, user))


@app.command(epilog="Example: python -m fusion_gateway.client users 4 --limit 20")
def users(
    prefix: Annotated[str, typer.Argument(help="What their ids begin with.", show_default="any")] = "",
    limit: Annotated[int | None, typer.Option(help="Number of users.", show_default="100")] = None,
    page: Annotated[str, typer.Option(help="What follows on a list that was cut, as it says.")] = "",
    as_json: AsJson = False,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Users with stored events, in the order of their ids."""
    with gateway(address) as stub:
        request = pb.ListUsersRequest(prefix=prefix, limit=limit, page_token=page)
        response = stub.ListUsers(request, timeout=timeout)
    _show(response, as_json, lambda: tables.page_of_users(response))


@app.command(epilog="Example: python -m fusion_gateway.client delete-user --user 42")
def delete_user(
    user: User,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Erases everything that is stored about a user."""
    if not yes:
        typer.confirm(f"Erase everything that is stored about user {user}?", abort=True)
    with gateway(address) as stub:
        response = stub.DeleteUser(pb.DeleteUserRequest(user_id=user), timeout=timeout)
    _show(response, as_json, lambda: _erased(response))


@app.command(epilog="Example: python -m fusion_gateway.client status --address 127.0.0.1:8001")
def status(as_json: AsJson = False, address: Address = DEFAULT_ADDRESS, timeout: Timeout = DEFAULT_TIMEOUT) -> None:
    """What is being served."""
    with gateway(address) as stub:
        response = stub.GetStatus(pb.GetStatusRequest(), timeout=timeout)
    _show(response, as_json, lambda: tables.status(response))


@contextmanager
def gateway(address: str) -> Iterator[RecommenderStub]:
    """A stub, as `connected`."""
    with connected(address) as channel:
        yield RecommenderStub(channel)


@contextmanager
def connected(address: str) -> Iterator[grpc.Channel]:
    """A channel; when a call fails, says why on stderr and exits with 1."""
    try:
        with CONNECTION.get().channel(address) as channel:
            yield channel
    except MarqueeError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    except grpc.RpcError as error:
        code, details = error.code(), error.details()
        if code == grpc.StatusCode.UNAVAILABLE and not _is_from_a_gateway(error):
            details = f"no gateway answers at {address} ({details}); --address names another, `make up` starts one here"
        if code == grpc.StatusCode.UNIMPLEMENTED:
            details = f"what answers at {address} is no gateway of this version; is it the port of a model server?"
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            details = f"no answer from {address} in time; --timeout waits longer"
        print(printable(f"error: {details}"), file=sys.stderr)
        raise typer.Exit(1) from None


def _is_from_a_gateway(error: Any) -> bool:
    """Every answer of a gateway has the request's id in its trailing metadata; what gRPC says by itself has not."""
    return any(name == REQUEST_ID for name, _ in error.trailing_metadata() or ())


def _show(response: Message, as_json: bool, readable: Callable[[], RenderableType]) -> None:
    if as_json:
        print(json_format.MessageToJson(response, preserving_proto_field_name=True, ensure_ascii=False))
    else:
        tables.console().print(readable())


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"--image {path}: {error.strerror}") from None
    if not content:
        raise typer.BadParameter(f"--image {path}: the file is empty")
    return content


def _erased(response: pb.DeleteUserResponse) -> str:
    events, answers = response.events_deleted, response.answers_deleted
    of_log = f" and {answers} answer{'s' * (answers != 1)}" if answers else ""
    return f"{events} event{'s' * (events != 1)}{of_log} {'is' if events == 1 and not answers else 'are'} erased"


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _history(text: str) -> list[pb.Event]:
    if not text.startswith("["):
        return [_event(part) for part in _split(text)]
    try:
        return list(json_format.Parse(f'{{"history": {text}}}', pb.RecommendRequest()).history)
    except json_format.ParseError as error:
        raise typer.BadParameter(f"not a JSON list of events: {error}", param_hint="--history") from None


def _expression(text: str) -> pb.Expression:
    try:
        return json_format.Parse(text, pb.Expression())
    except json_format.ParseError as error:
        raise typer.BadParameter(f"not a JSON expression: {error}", param_hint="--where") from None


def _event(text: str) -> pb.Event:
    """What follows the last colon is the rating where it is a number; otherwise the colon belongs to the id."""
    item, _, rating = text.rpartition(":")
    try:
        value = float(rating)
    except ValueError:
        value = math.nan
    return pb.Event(item_id=item, rating=value) if item and math.isfinite(value) else pb.Event(item_id=text)


def _weights(text: str) -> dict[str, float]:
    weights = {}
    for part in _split(text):
        name, equals, value = part.partition("=")
        if not (name and equals and value):
            example = f"{name or 'rating'}=0.7"
            raise typer.BadParameter(f"{part!r} must be NAME=NUMBER, such as {example}", param_hint="--weights")
        weights[name.strip()] = _number("--weights", value)
    return weights


def _number(option: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number", param_hint=option) from None
