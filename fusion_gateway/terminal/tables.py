"""The gateway's answers as tables for a terminal: they read at 80 columns, with every id, title and score whole."""

import shlex
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.cells import chop_cells
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from fusion_gateway.events.moments import moment
from protos.marquee.programs import as_called
from protos.marquee.v1 import items_pb2
from protos.marquee.v1 import recommender_pb2 as pb
from servers.runtime.terminal import Terminal

WIDTH_OF_A_FILE = 160
ID_WIDTH = 36
"""Longer ids are folded; a UUID is not."""
MIN_CONTRIBUTION = 0.005
"""Contributions that would be shown as 0.00 are left out."""
LIST_NAMES = as_called("python -m fusion_gateway list-names")
FALLBACKS = {
    pb.FALLBACK_STORED_HISTORY: "the models, from the user's history",
    pb.FALLBACK_FOLD_IN: "the models, from the history in the request",
    pb.FALLBACK_PROFILE: "the profile: what is popular of its genres, or with people like that",
    pb.FALLBACK_NO_HISTORY: "the models that need no history, among popular items",
    pb.FALLBACK_POPULARITY: "the popularity list",
}


def console() -> Console:
    """Of the terminal's width; wide when the output goes elsewhere."""
    return Terminal(width=None if sys.stdout.isatty() else WIDTH_OF_A_FILE, highlight=False)


def recommendations(
    response: pb.RecommendResponse, title: str = "", user: str = "", filters: str = "", reasons: bool = False
) -> Group:
    """Needs an explained response. `user` is the requested id, `filters` the options that an item had to pass;
    `reasons` adds each item's own."""
    table = _table("rank", "score", "id", "movie")
    for item in response.items:
        why = item.explanation
        parts = [_contributions(why), _sources(why, response.model_versions)]
        movie = _movie(item.item, "; ".join(filter(None, parts)), *[why.reason] * reasons)
        table.add_row(str(item.rank), f"{item.score:.3f}", _id(item.item.id), movie)
    return _group(title, table, *_about(response, user, filters))


def neighbours(response: pb.SimilarItemsResponse) -> Group:
    table = _table("rank", "score", "id", "movie")
    for item in response.items:
        movie = _movie(item.item, _contributions(item.explanation))
        table.add_row(str(item.rank), f"{item.score:.3f}", _id(item.item.id), movie)
    scores = [item.score for item in response.items]
    note = "" if scores else "nothing is known to be like it"
    if scores != sorted(scores, reverse=True):
        note = "ordered by score, but for movies of the same director, which come first"
    title = f"Like {_dated(response.query)}" if response.HasField("query") else "With posters like the picture"
    return _group(title, table, note, _missing(response.degraded))


def listed(response: pb.GetListResponse) -> Group:
    table = _table("rank", "score", "id", "movie")
    for item in response.items:
        score = f"{item.score:.2f}".removesuffix(".00")
        table.add_row(str(item.rank), score, _id(item.item.id), _movie(item.item))
    more = (
        f"more: --after {response.recommendation_id}" if response.items else "nothing is in the list, past the filters"
    )
    return _group("", table, more, _missing(response.degraded))


def matches(response: pb.SearchItemsResponse) -> Group:
    table = _table("likeness", "id", "movie")
    for match in response.matches:
        table.add_row(f"{match.score:.0f}", _id(match.item.id), _movie(match.item))
    return _group("", table, "" if response.matches else "no movie has a similar title")


def catalog_items(items: Sequence[items_pb2.CatalogItem]) -> Group:
    table = _table("id", "state", "version", "movie")
    for item in items:
        about = [f"hidden{_until(item)}: {item.hidden_reason or 'no reason'}"] * item.hidden
        about += [f"refused: {item.refused_reason}"] * (item.state == items_pb2.ITEM_STATE_REFUSED)
        about += ["nobody sees it now"] * (item.state == items_pb2.ITEM_STATE_ONBOARDED and not item.visible)
        table.add_row(_id(item.item.id), state_name(item.state), str(item.version), _movie(item.item, *about))
    return _group("", table, "" if items else "there is no such item")


def _until(item: items_pb2.CatalogItem) -> str:
    return f" until {moment(item.hidden_until)}" if item.HasField("hidden_until") else ""


def state_name(state: int) -> str:
    return items_pb2.ItemState.Name(state).removeprefix("ITEM_STATE_").lower()  # type: ignore[arg-type]


def events(response: pb.GetHistoryResponse, items: Iterable[pb.Item], user: str) -> Group:
    """`items` are those of the events that the catalog has."""
    movies = {item.id: _dated(item) for item in items}
    table = _table("time (UTC)", "type", "rating", "id", "movie")
    for event in response.events:
        rating = f"{event.rating:g}" if event.HasField("rating") else ""
        movie = Text(movies.get(event.item_id, "not in the catalog"))
        table.add_row(moment(event.time), event.type, rating, _id(event.item_id), movie)
    return _group("", table, "" if response.events else f"nothing is stored about user {user}")


def recorded(response: pb.RecordEventsResponse, items: Sequence[pb.Item], item_id: str) -> Text:
    """`items` is empty where the catalog does not have the one of the event."""
    done = "recorded" if response.recorded else "known already"
    movie = _dated(items[0]) if items else f"the catalog has no item {item_id}, so it is skipped until it has"
    return Text(f"{done}: {movie}")


def users(found: Iterable[tuple[str, int, int]]) -> Group:
    """Of each: id, number of events, unix seconds of the newest."""
    table = _table("user", "events", "newest (UTC)")
    for user, count, newest in found:
        table.add_row(_id(user), str(count), moment(newest))
    return _group("", table, "" if table.row_count else "no events are stored")


def page_of_users(response: pb.ListUsersResponse) -> Group:
    table = _table("user", "newest (UTC)")
    for user in response.users:
        table.add_row(_id(user.id), moment(user.newest_event_time))
    more = f"more: --page {shlex.quote(response.next_page_token)}" if response.next_page_token else ""
    return _group("", table, more, "" if response.users else "no events are stored of such users")


def outcomes(response: pb.GetOutcomesResponse) -> Group:
    """Of each part, a table of what each arm came to and one of the differences; and what weakens them."""
    lines = [Text(line, "italic") for line in _about_outcomes(response)]
    if not response.arms:
        return Group(Text("no answers to users are logged from that time"), *lines)
    shown: list[Text | Table] = []
    for part in dict.fromkeys(arm.part for arm in response.arms):
        shown += [Text(f"{response.by}: {part}", "bold")] * bool(part)
        shown += _part([arm for arm in response.arms if arm.part == part], response)
    return Group(*shown, *lines)


def _part(arms: Sequence[pb.ArmOutcomes], response: pb.GetOutcomesResponse) -> list[Table]:
    per = "mean rating" if response.metric == "rating" else "per answer"
    rates = _table("policy", per, "NDCG")
    differences = _table("policy", f"{per}, to control", "NDCG, to control")
    for heading in ("users\nanswers", f"shown\n{response.metric}"):
        rates.add_column(heading, justify="right", no_wrap=True)
    for heading in ("best", "more users"):
        differences.add_column(heading, justify="right")
    for arm in arms:
        counts = f"{arm.users:,}\n{arm.answers:,}", f"{arm.impressions:,}\n{arm.outcomes:,}"
        rates.add_row(Text(arm.policy), _rate(arm.rate), _rate(arm.ndcg), *counts)
        if arm.HasField("probability_best") or arm.HasField("compared_since"):
            rate = _difference(arm.rate_difference, arm.HasField("rate_difference"))
            ndcg = _difference(arm.ndcg_difference, arm.HasField("ndcg_difference"))
            best = f"{arm.probability_best:.3f}" if arm.HasField("probability_best") else ""
            more = f"{arm.more_users:,}" if arm.HasField("more_users") else ""
            differences.add_row(Text(arm.policy), rate, ndcg, best, more)
    return [rates, *[differences] * bool(differences.row_count)]


def names(found: Mapping[str, Sequence[str]]) -> Group:
    """By their kind."""
    table = _table("kind", "names")
    for kind, values in found.items():
        table.add_row(kind, Text(", ".join(values) or "none"))
    return _group("", table)


def status(response: pb.GetStatusResponse) -> Group:
    table = _table("model", "address", "ready", "version")
    for model in response.models:
        ready = "yes" if model.ready else "no"
        table.add_row(Text(model.name), Text(model.address), ready, str(model.version or "?"))
    served = (
        f"catalog {response.catalog_version} with {response.catalog_items} items; policies "
        f"{', '.join(response.policies)} (default {response.default_policy}) of fusion {response.fusion_version}"
    )
    scenarios = f"scenarios {', '.join(response.scenarios)}" if response.scenarios else ""
    return _group("", table, served, scenarios)


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        number = column in ("rank", "score", "likeness", "rating", "version", "events", "users", "answers", "shown")
        table.add_column(
            column,
            justify="right" if number else "left",
            overflow="fold",
            no_wrap=number or column in ("id", "user", "time (UTC)", "newest (UTC)"),
        )
    return table


def _group(title: str, table: Table, *lines: str) -> Group:
    head = [Text(title, "bold")] if title else []
    body = [table] if table.row_count else []
    return Group(*head, *body, *[Text(line, "italic") for line in lines if line])


def _movie(item: pb.Item, *lines: str) -> Text:
    """Title, year and genres, and below them further lines."""
    text = Text(_dated(item), "bold")
    if item.genres:
        text.append(f"  {', '.join(item.genres)}", "not bold")
    for line in lines:
        if line:
            text.append(f"\n{line}", "not bold dim")
    return text


def _id(id: str) -> Text:
    return Text("\n".join(chop_cells(id, ID_WIDTH)))


def _dated(item: pb.Item) -> str:
    return f"{item.title} ({item.year})" if item.year else item.title


def _contributions(explanation: pb.Explanation) -> str:
    """Largest first."""
    parts = [part for part in explanation.contributions if abs(part.contribution) >= MIN_CONTRIBUTION]
    parts.sort(key=lambda part: -abs(part.contribution))
    return ", ".join(f"{part.model} {part.contribution:+.2f}" for part in parts)


def _sources(explanation: pb.Explanation, models: Collection[str]) -> str:
    """Which models retrieved the item; nothing where all of them did."""
    everyone = set(explanation.retrieved_by) == set(models) - {"popularity"}
    return "" if everyone else f"retrieved by {', '.join(explanation.retrieved_by)}"


def _rate(rate: pb.Rate) -> str:
    """Its interval below it."""
    ends = f"\n{_short(rate.low)} to {_short(rate.high)}" if rate.HasField("low") else ""
    return _short(rate.value) + ends


def _difference(found: pb.Difference, is_known: bool) -> str:
    """With its p, and its interval below it."""
    if not is_known:
        return ""
    value, low, high = (_short(each, "+") for each in (found.value, found.low, found.high))
    p_value = f"{found.p_value:.3f}" if found.p_value >= 0.001 else "<0.001"
    return f"{value}, p {p_value}\n{low} to {high}"


def _short(value: float, sign: str = "-") -> str:
    """At most four digits after the point, or in all."""
    if abs(value) >= 1000:
        return f"{value:{sign},.0f}"
    return f"{value:{sign}.4f}" if abs(value) < 10 else f"{value:{sign}.4g}"


def _about_outcomes(response: pb.GetOutcomesResponse) -> Iterator[str]:
    since, until = moment(response.since), moment(response.until)
    hours = response.window_seconds / 3600
    yield f"answers from {since} to {until} UTC; an outcome counts within {hours:g} hours, for the first answer only"
    if response.control:
        yield f"the control is {response.control}"
    yield "intervals are 95 %, by user; differences and p hold however often one looks"
    for arm in response.arms:
        if arm.note:
            yield f"{_arm(arm)}: {arm.note}"
    for (first, last), policies in _compared(response).items():
        yield f"{', '.join(policies)}: compared from {moment(first)} to {moment(last)} UTC, while both were drawn"
    if response.metric == "rating":
        yield "a mean rating is of as many ratings as the column rating says; users are those with one"
    yield "NDCG is of what was chosen: at rank r it counts 1 / log2(r + 1)"
    drawn = [arm for arm in response.arms if arm.drawn]
    if response.arms and not drawn:
        yield "no policy was drawn: without `split` in the policies there is nothing to compare"
    elif len(drawn) < len(response.arms):
        yield "policies without a probability of being best were named by requests, or everybody's: not compared"
    if response.HasField("sample_ratio_p"):
        p_value = response.sample_ratio_p
        verdict = (
            "as the probabilities say" if p_value >= 0.001 else "NOT as the probabilities say: trust no difference"
        )
        yield f"users came to the policies {verdict} (p {p_value:.2g})"
    if any(arm.HasField("more_users") for arm in response.arms):
        yield f"more users: until the interval is ±{response.precision:.0%} of the rate of {response.control}"
    if capped := sum(arm.capped_answers for arm in response.arms):
        limit = response.max_answers_per_user
        yield f"{capped:,} answers are not in the rates: of a user, the first {limit} of a policy are"
    if response.anonymous_answers:
        yield f"{response.anonymous_answers:,} answers to nobody in particular are left out"
    if response.user_share < 1:
        yield f"the rates are of a random {response.user_share:.3%} of the users"


def _compared(response: pb.GetOutcomesResponse) -> dict[tuple[int, int], list[str]]:
    """Policies by the time over which they are compared with the control."""
    found: dict[tuple[int, int], list[str]] = {}
    for arm in response.arms:
        if arm.HasField("compared_since"):
            policies = found.setdefault((arm.compared_since, arm.compared_until), [])
            policies.append(_arm(arm))
    return found


def _arm(arm: pb.ArmOutcomes) -> str:
    return f"{arm.policy} ({arm.part})" if arm.part else arm.policy


def _about(response: pb.RecommendResponse, user: str, filters: str) -> Iterator[str]:
    if not response.items:
        yield f"no movie matches {filters}" if filters else "no movie is left to recommend"
    if response.unknown_names:
        unknown = ", ".join(f"{_kind(each.field)} {each.name!r}" for each in response.unknown_names)
        yield f"the data has no {unknown}; {LIST_NAMES} prints the names that it has"
    used, skipped = response.history_used, response.history_skipped
    store_failed = any(each.component == "history" for each in response.degraded)
    if user and not used and not skipped and not store_failed:
        yield f"no history of user {user}"
    origin = f"from {FALLBACKS.get(response.fallback, '?')}; " if response.items else ""
    yield (f"{origin}{response.candidates} candidates, {used} event{'s' * (used != 1)} used, {skipped} skipped")
    versions = ", ".join(f"{model} {version}" for model, version in sorted(response.model_versions.items()))
    yield f"policy {response.policy}; versions: {versions or 'none'}; {response.timings_ms['total']:.1f} ms"
    if response.items and response.recommendation_id:
        yield f"the next page: --after {response.recommendation_id}"
    yield _missing(response.degraded)


def _kind(field: str) -> str:
    return "genre" if "genres" in field else field.rpartition(".")[2]


def _missing(degraded: Sequence[pb.Degraded]) -> str:
    return "missing: " + ", ".join(f"{each.component} ({each.reason})" for each in degraded) if degraded else ""
