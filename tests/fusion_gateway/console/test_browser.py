"""The console as people use it: in a real browser, before a real gateway with real model servers."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from fusion_gateway.access import hash_of
from fusion_gateway.catalog.catalog import SCHEMA
from fusion_gateway.fusion import Policy
from fusion_gateway.fusion.estimate_names import digest
from fusion_gateway.gateway import gateway
from fusion_gateway.loop import outcomes_call
from fusion_gateway.settings import GatewaySettings
from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.artifact_pb2 import Metric
from servers.runtime.settings import read
from tests.fusion_gateway.conftest import World
from tests.fusion_gateway.console import browser
from tests.fusion_gateway.console.browser import PHONE, opened
from tests.fusion_gateway.console.running import Console, console
from tests.fusion_gateway.loop.written import write_experiment
from tests.fusion_gateway.world import POLICIES, TAGS, items, publish, publish_catalog
from tests.servers.running import ROOT

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = pytest.mark.skipif(bool(browser.missing()), reason=f"the console is not tested: {browser.missing()}")

LINES = """() => {
  const lines = document.querySelector(".lines"), { top } = lines.getBoundingClientRect();
  const middle = (row) => { const box = row.getBoundingClientRect(); return (box.top + box.bottom) / 2 - top; };
  const other = (row) => document.querySelector(`.b .row[data-id="${row.dataset.id}"]`);
  const rows = [...document.querySelectorAll(".a .row")].filter(other);
  const drawn = [...lines.children].map((path) => path.getAttribute("d").match(/[\\d.]+/g).map(Number));
  return [drawn.map((numbers) => [numbers[1], numbers[7]]), rows.map((row) => [middle(row), middle(other(row))])];
}"""
"""Ends of the lines of Compare, and middles of the rows that they connect."""
HISTORY = [("1", 5.0), ("5", 4.0)]
HOSTILE = [
    "<script>document.title='stolen'</script>",
    "<img src=x onerror=\"document.title='stolen'\">",
    "\u202egnp.exe \u2067right to left",
    "👩‍👩‍👧‍👦🎬 ' \" & `${1}` {{1}}",
    "long " * 100,
    "W" * 500,
]


@pytest.fixture
async def page(world: World, tmp_path: Path) -> AsyncIterator[Console]:
    """The console of a gateway that knows user 42."""
    await world.stub.RecordEvents(
        pb.RecordEventsRequest(
            events=[pb.Event(user_id="42", item_id=item, rating=rating, time=1_000_000_000) for item, rating in HISTORY]
        )
    )
    Image.new("RGB", (300, 450), "navy").save(tmp_path / "poster.jpg")
    async with console(world.gateway.grpc_address, f"--posters={tmp_path}") as running:
        yield running


async def titles(tab: "Page", of: str = ".list") -> list[str]:
    """Of the list, once it is there."""
    await tab.locator(f"{of} .row:not(.ghost)").first.wait_for()
    return await tab.locator(f"{of} .title").all_inner_texts()


async def expected(world: World, **request: Any) -> list[str]:
    return [each.item.title for each in (await world.stub.Recommend(pb.RecommendRequest(**request))).items]


async def reaches(tab: "Page", titles: list[str], of: str = ".list") -> None:
    """Waits until the list is this one."""
    script = "([of, titles]) => JSON.stringify([...document.querySelectorAll(of)].map(e => e.innerText)) === titles"
    as_text = json.dumps(titles, ensure_ascii=False, separators=(",", ":"))
    await tab.wait_for_function(script, arg=[f"{of} .title", as_text])


async def move(tab: "Page", label: str, value: float) -> None:
    """Moves a slider as a hand does, and lets go."""
    slider = tab.get_by_label(label, exact=True)
    await slider.evaluate("(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})); }", value)


def run(python: str, environment: dict[str, str]) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run([sys.executable, "-c", python], cwd=ROOT, capture_output=True, env=os.environ | environment)


async def test_a_user_is_found_and_the_list_says_why(world: World, page: Console) -> None:
    async with opened() as tab:
        await tab.goto(page.url)
        await tab.get_by_role("combobox", name="User id or movie title").press_sequentially("4")
        await tab.get_by_role("option", name="User 42 last event 2001-09-09").click()
        await reaches(tab, await expected(world, user_id="42"))
        assert "user=42" in tab.url
        await tab.locator(".past", has_text="Inception").wait_for()
        assert "2001-09-09" in await tab.locator(".past").inner_text()
        row = tab.locator(".list .row").first
        [first, *_] = (await world.stub.Recommend(pb.RecommendRequest(user_id="42", explain=True))).items
        assert first.explanation.reason in await row.inner_text()
        assert "found by" in await row.inner_text()
        score = await row.get_by_role("img").get_attribute("aria-label")
        assert re.fullmatch(r"Score [\d.-]+: rating [\d.-]+", score or "")  # no other model knows it


async def test_suggestions_by_keyboard_lead_to_a_title(page: Console) -> None:
    async with opened() as tab:
        await tab.goto(page.url)
        await tab.keyboard.press("Tab")
        assert await tab.evaluate("document.activeElement.innerText") == "To the content"
        for _ in range(9):
            await tab.keyboard.press("Tab")
        assert await tab.evaluate("document.activeElement.getAttribute('role')") == "combobox"
        await tab.keyboard.type("intersteler", delay=10)
        await tab.get_by_role("option").first.wait_for()
        await tab.keyboard.press("ArrowDown")
        await tab.keyboard.press("Enter")
        await tab.wait_for_url("**/title?id=3")
        assert (await titles(tab))[0] in ("The Prestige", "Memento", "Inception")  # the director's first
        await tab.get_by_role("combobox", name="Movie title").fill("qqqqqqq")
        await tab.keyboard.press("Enter")
        notice = tab.get_by_role("alert")
        await notice.get_by_text("Oops, no movie found with a title similar to 'qqqqqqq'.").wait_for()


async def test_sliders_reorder_the_list_as_the_api_says(world: World, page: Console) -> None:
    async with opened() as tab:
        await tab.goto(f"{page.url}/?user=42")
        await reaches(tab, await expected(world, user_id="42"))
        await tab.get_by_text("Weight of each model").wait_for()
        await move(tab, "rating", 4)
        await reaches(tab, changed := await expected(world, user_id="42", weights={"rating": 4}))
        assert changed != await expected(world, user_id="42")
        assert await tab.locator(".moved").count()
        await move(tab, "sequential", 0)
        await reaches(tab, await expected(world, user_id="42", weights={"rating": 4, "sequential": 0}))
        await tab.get_by_label("Policy").select_option("rrf")
        await reaches(tab, await expected(world, user_id="42", policy="rrf"))
        await move(tab, "Diversity", 0.9)
        await move(tab, "At most of a genre", 2)
        await tab.get_by_role("button", name="Thriller: does not matter").click()
        settings = {
            "filters": pb.Filters(genres_any=["Thriller"]),
            "policy": "rrf",
            "diversity": 0.9,
            "max_per_genre": 2,
        }
        await reaches(tab, found := await expected(world, user_id="42", **settings))
        await tab.reload()  # the address holds it all
        await reaches(tab, found)
        await tab.get_by_text("As a call").click()
        shown = await tab.get_by_label("grpcurl", exact=True).inner_text()
        assert f"{world.gateway.grpc_address} marquee.v1.Recommender/Recommend" in shown
        assert '"maxPerGenre":2' in shown
        for name, command in (("Python", [sys.executable, "-c"]), ("curl", ["bash", "-c"])):
            if name == "Python" or shutil.which("curl"):
                text = await tab.get_by_label(name, exact=True).inner_text()
                answer = await asyncio.to_thread(subprocess.run, [*command, text], cwd=ROOT, capture_output=True)
                assert found[0].encode() in answer.stdout, answer.stderr


async def test_what_the_address_holds_shows_in_the_controls(page: Console) -> None:
    async with opened() as tab:
        await tab.goto(f"{page.url}/?user=42&policy=nothing&from=2050")
        await tab.get_by_text("there is no 'nothing'").wait_for()
        policy = tab.get_by_label("Policy")
        assert await policy.input_value() == "nothing"
        await policy.select_option("rrf")
        await tab.get_by_text("Nothing passes these filters.").wait_for()
        assert "popularity" not in await tab.locator(".how").inner_text()
        await tab.get_by_role("button", name="Clear the filters").click()
        assert await titles(tab)
        assert tab.url.endswith("?user=42&policy=rrf")


async def test_an_address_that_was_damaged_still_shows_a_list(world: World, page: Console) -> None:
    async with opened() as tab:
        await tab.goto(f"{page.url}/?new=1&picked=%25:5,6:5&w.rating=many&k=some")
        history = [pb.Event(item_id="%", rating=5), pb.Event(item_id="6", rating=5)]
        await reaches(tab, await expected(world, history=history))


async def test_numbers_and_posters_of_a_list_that_changes(world: World, page: Console) -> None:
    async with opened() as tab:
        await tab.goto(f"{page.url}/?user=42")
        title, *_ = await titles(tab)
        row = tab.locator(".list .row").first
        await row.get_by_text("Numbers").click()
        await row.locator("tbody td").first.wait_for()
        cells = await row.locator("tbody td").all_inner_texts()
        [first, *_] = (await world.stub.Recommend(pb.RecommendRequest(user_id="42", explain=True))).items
        parts = first.explanation.contributions
        assert float(cells[1]) == pytest.approx(parts[0].normalized_score, abs=0.001) != 0
        await row.locator(".poster.loaded").wait_for()
        await tab.evaluate("document.querySelector('.list .poster').dataset.seen = 'before'")
        await move(tab, "rating", 4)
        await tab.wait_for_url("**w.rating=4")
        same = tab.locator(".list .row").filter(has_text=title).locator(".poster")
        await tab.wait_for_load_state("networkidle")
        assert await same.get_attribute("data-seen") == "before"  # not loaded and decoded again


async def test_a_rating_changes_the_next_list(world: World, page: Console) -> None:
    async with opened() as tab:
        await tab.goto(f"{page.url}/?user=42")
        first, second, *_ = await titles(tab)
        rate = tab.get_by_role("button", name=f"Rate {first} 4 of 5")
        await rate.click()
        await rate.wait_for(state="detached")
        await reaches(tab, await expected(world, user_id="42"))
        watched = tab.get_by_role("button", name=f"Watched {second}", exact=True)
        await watched.click()
        await watched.wait_for(state="detached")
        await reaches(tab, after := await expected(world, user_id="42"))
        assert {first, second}.isdisjoint(after)
        stored = (await world.stub.GetHistory(pb.GetHistoryRequest(user_id="42"))).events
        assert [event.rating for event in stored if event.time > 1_000_000_000] == [0, 4]
        assert first in await tab.locator(".past").inner_text()


async def test_a_new_person_picks_movies_and_nothing_is_stored(world: World, page: Console) -> None:
    async with opened() as tab:
        await tab.goto(page.url)
        await tab.get_by_role("button", name="A new person").click()
        await tab.get_by_role("combobox", name="A movie you know").press_sequentially("fargo")
        await tab.get_by_role("option", name="Fargo").click()
        await reaches(tab, await expected(world, history=[pb.Event(item_id="6", rating=5)]))
        await tab.get_by_role("button", name="Rate Up 2 of 5").click()
        history = [pb.Event(item_id="6", rating=5), pb.Event(item_id="9", rating=2)]
        await reaches(tab, await expected(world, history=history))
        await tab.get_by_role("button", name="Remove Fargo").click()
        await reaches(tab, await expected(world, history=history[1:]))
        await tab.get_by_role("button", name="Nobody in particular").click()
        for genre in (liked := ["Comedy", "Crime"]):
            await tab.get_by_label("Likes").get_by_role("button", name=genre).click()
        await reaches(tab, await expected(world, profile=pb.Profile(liked_genres=liked)))


async def test_stars_are_on_the_scale_of_the_data(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    publish_catalog(repository, items(), TAGS, scale={"lowest": 0, "highest": 10, "step": 1})
    publish(repository, "fusion", {"policies.yaml": POLICIES.encode()})
    flags = [f"--model-repository={repository}", f"--event-store=sqlite:///{tmp_path}/events.db", "--scorer="]
    flags += ["--grpc-port=0", "--metrics-port=0", "--exit-timeout-secs=0"]
    async with (
        gateway(read(GatewaySettings, flags)) as program,
        program,
        console(program.grpc_address) as page,
        opened() as tab,
    ):
        await tab.goto(f"{page.url}/?user=42")
        first, *_ = await titles(tab)
        stars = tab.get_by_role("group", name=f"Your rating of {first}").get_by_role("button")
        await stars.last.wait_for()
        assert await stars.count() == 11
        await tab.get_by_role("button", name=f"Rate {first} 0 of 10").click()
        await tab.locator(".past .given").wait_for()
        assert (await tab.locator(".past .given").inner_text()).split() == ["★", "rated", "0"]


@pytest.mark.parametrize(
    ("scale", "stars"),
    [
        (None, [1, 2, 3, 4, 5]),
        ({"lowest": 0.5, "highest": 5, "step": 0.5}, [1, 2, 3, 4, 5]),
        ({"highest": 1, "step": 1}, [0, 1]),
        ({"lowest": 10, "highest": 100, "step": 10}, list(range(10, 101, 10))),
        ({"lowest": -10, "highest": 10}, [-10, -5, 0, 5, 10]),
        ({"lowest": 0.1, "highest": 0.9, "step": 0.1}, [0.1, 0.3, 0.5, 0.7, 0.9]),
    ],
)
async def test_what_stars_stand_for(page: Console, scale: dict[str, float] | None, stars: list[float]) -> None:
    async with opened() as tab:
        await tab.goto(page.url)
        values = "async (scale) => (await import('/static/movies.js')).starValues(scale ?? undefined)"
        assert await tab.evaluate(values, scale) == stars


async def test_read_only_shows_nothing_that_writes(world: World) -> None:
    async with console(world.gateway.grpc_address, "--read-only") as page, opened() as tab:
        await tab.goto(f"{page.url}/?user=42")
        await titles(tab)
        assert await tab.get_by_role("button", name=re.compile("Rate|Watched")).count() == 0


async def test_two_policies_are_compared(world: World, page: Console) -> None:
    async with opened() as tab:
        await tab.goto(f"{page.url}/compare?a.user=42&b.policy=rrf")
        await reaches(tab, a := await expected(world, user_id="42"), ".a .list")
        await reaches(tab, b := await expected(world, user_id="42", policy="rrf"), ".b .list")
        text = await tab.locator(".sum").inner_text()
        share = f"share {len(set(a) & set(b))} of {max(len(a), len(b))} movies"
        assert f"A (user 42, fitted) and B (user 42, rrf) {share}" in text
        assert "Spearman" in text
        ends, middles = await tab.evaluate(LINES)
        assert len(ends) == len(set(a) & set(b))
        assert np.array(ends) == pytest.approx(np.array(middles), abs=1)


async def test_users_to_compare_are_suggested(world: World, page: Console) -> None:
    async with opened() as tab:
        await tab.goto(f"{page.url}/compare")
        user = tab.get_by_role("region", name="List B").get_by_role("combobox", name="User id")
        await user.press_sequentially("4")
        await tab.get_by_role("option", name="User 42").click()
        await reaches(tab, await expected(world, user_id="42", policy="rrf"), ".b .list")
        for key in ("Control+A", "Backspace", "Enter"):
            await user.press(key)
        await reaches(tab, await expected(world, policy="rrf"), ".b .list")
        assert "user" not in tab.url


async def test_models_are_shown(world: World, page: Console) -> None:
    async with opened() as tab:
        await tab.goto(f"{page.url}/?user=42")
        await titles(tab)
        await tab.get_by_role("link", name="Models").click()
        row = tab.get_by_role("row", name=re.compile("^visual temporal"))
        assert {"ready", "7", "closed"} <= set((await row.inner_text()).split())
        await tab.get_by_role("row", name=re.compile("^rrf")).wait_for()


async def test_an_experiment_shows_who_wins(page: Console, tmp_path: Path) -> None:
    await write_experiment(f"sqlite:///{tmp_path}/events.db", 300, control="fitted", winner="rrf")
    async with opened() as tab:
        await tab.goto(page.url)
        await tab.get_by_role("link", name="Experiments").click()
        await tab.get_by_text("rrf is better than fitted (p below 0.001).").wait_for()
        row = tab.get_by_role("row", name=re.compile("^rrf"))
        cells = [" ".join(text.split()) for text in await row.locator("td").all_inner_texts()]
        assert cells[:4] == ["150", "300", "200", "200"]
        assert re.fullmatch(r"0\.6667 0\.\d{4} to 0\.\d{4}", cells[4])
        assert re.fullmatch(r"\+0\.3333 \+0\.\d{4} to \+0\.\d{4}", cells[6])
        assert cells[9] == "100.0 %"
        await tab.get_by_role("row", name="fitted (control)").wait_for()
        differences = tab.get_by_role("figure", name="Difference to fitted, always-valid intervals")
        assert await differences.locator("path").count() == 3  # zero, band and line
        await differences.get_by_text("Numbers").click()
        days = await differences.locator("tbody th").all_inner_texts()
        assert len(days) == 2
        assert days == sorted(days)
        await tab.get_by_label("Outcome").select_option("like")
        await tab.get_by_text("Too few").wait_for(state="hidden")
        assert tab.url.endswith("/experiments?metric=like")
        await tab.get_by_label("Divided by").select_option("cohort")
        await tab.get_by_role("heading", name="0 events").wait_for()


async def test_what_was_estimated_stands_beside_what_was_measured(tmp_path: Path) -> None:
    repository, protocol = tmp_path / "repository", "off-policy, doubly robust, click an answer, 95 %"
    rrf = f"rrf {digest(Policy({'rating': 1.0, 'sequential': 1.0}, 'rrf'))}"
    estimates = {
        rrf: 0.5,
        f"{rrf} low": 0.4,
        f"{rrf} high": 0.6,
        f"later {digest(Policy({'rating': 1.0}, 'rrf'))}": 0.3,
    }
    metrics = [Metric(name=name, value=value, protocol=protocol) for name, value in estimates.items()]
    metrics.append(Metric(name=rrf, value=0.9, protocol="off-policy, doubly robust, like an answer, 95 %"))
    publish_catalog(repository, items(), TAGS)
    policies = POLICIES + "  later: {strategy: rrf, weights: {rating: 1}}\n"
    publish(repository, "fusion", {"policies.yaml": policies.encode()}, metrics=metrics)
    flags = [f"--model-repository={repository}", f"--event-store=sqlite:///{tmp_path}/events.db", "--scorer="]
    flags += ["--grpc-port=0", "--metrics-port=0", "--exit-timeout-secs=0"]
    async with (
        gateway(read(GatewaySettings, flags)) as program,
        program,
        console(program.grpc_address) as page,
        opened() as tab,
    ):
        await write_experiment(f"sqlite:///{tmp_path}/events.db", 300, control="fitted", winner="rrf")
        await tab.goto(f"{page.url}/experiments")
        table = tab.get_by_role("table", name="Off-policy estimates")
        row = table.get_by_role("row", name=re.compile("^rrf"))
        await row.wait_for()
        cells = [" ".join(text.split()) for text in await row.locator("td").all_inner_texts()]
        assert cells[0] == "0.5000 0.4000 to 0.6000"
        assert re.fullmatch(r"0\.6667 0\.\d{4} to 0\.\d{4}", cells[1])
        assert cells[2] == protocol
        later = table.get_by_role("row", name=re.compile("^later"))
        assert "not served in this time" in await later.inner_text()


async def test_more_than_can_be_read_in_time_is_said(page: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes_call, "MAX_SECONDS", 0)
    async with opened() as tab:
        await tab.goto(f"{page.url}/experiments")
        await tab.get_by_text("0 answers were read in time; give it longer").wait_for()


async def test_no_experiment_is_said(page: Console) -> None:
    async with opened() as tab:
        await tab.goto(f"{page.url}/experiments")
        await tab.get_by_text("No answers to users are logged from that time.").wait_for()
        await tab.goto(f"{page.url}/experiments?metric=clicks")
        await tab.get_by_text("metric: there is no 'clicks'").wait_for()


async def test_a_stopped_model_is_named_and_the_page_works(world: World, page: Console) -> None:
    await world.servers["sequential"].aclose()
    async with opened() as tab:
        await tab.goto(f"{page.url}/?user=42")
        await titles(tab)
        assert "Without sequential: unavailable" in await tab.locator(".degraded").inner_text()
        await tab.get_by_role("link", name="Models").click()
        await tab.get_by_role("row", name=re.compile("^sequential not ready|^sequential .*not ready")).wait_for()


@asynccontextmanager
async def gateway_at(port: int, repository: Path, folder: Path) -> AsyncIterator[None]:
    flags = [f"--model-repository={repository}", f"--event-store=sqlite:///{folder}/other.db", "--scorer="]
    flags += [f"--grpc-port={port}", "--metrics-port=0", "--exit-timeout-secs=0"]
    async with gateway(read(GatewaySettings, flags)) as program, program:
        yield


async def test_a_stopped_gateway_is_said_and_the_page_recovers(
    world: World, page: Console, repository: Path, tmp_path: Path
) -> None:
    await world.gateway.stop()
    async with opened() as tab:
        await tab.goto(page.url)
        await tab.get_by_role("alert").get_by_text(f"{world.gateway.grpc_address} does not answer").wait_for()
        port = int(world.gateway.grpc_address.rpartition(":")[2])
        async with gateway_at(port, repository, tmp_path):
            await titles(tab)
            await tab.get_by_role("alert").wait_for(state="hidden")


async def test_a_token_is_requested_and_kept_for_the_tab_only(repository: Path, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.yaml"
    tokens.write_text(f"someone: {{sha256: {hash_of('secret')}}}\n")
    tokens.chmod(0o600)
    flags = [f"--model-repository={repository}", f"--event-store=sqlite:///{tmp_path}/events.db", "--scorer="]
    flags += ["--grpc-port=0", "--metrics-port=0", f"--tokens={tokens}", "--exit-timeout-secs=0"]
    async with (
        gateway(read(GatewaySettings, flags)) as program,
        program,
        console(program.grpc_address) as page,
        opened() as tab,
    ):
        await tab.goto(page.url)
        await tab.get_by_label("Token", exact=True).fill("secret")
        await tab.get_by_role("button", name="Use it").click()
        await titles(tab)
        await tab.reload()
        [first, *_] = await titles(tab)
        await tab.get_by_text("As a call").click()
        text = await tab.get_by_label("Python", exact=True).inner_text()
        answer = await asyncio.to_thread(run, text, {"MARQUEE_TOKEN": "secret"})
        assert first.encode() in answer.stdout, answer.stderr
        assert "secret" not in await tab.locator(".as-call").inner_text()
        assert await tab.evaluate("[localStorage.length, document.cookie, location.search]") == [0, "", ""]


async def test_hostile_titles_stay_text(tmp_path: Path) -> None:
    rows = [
        (n, str(n), title, 2000, ["Drama", title[:200]], title, "x/../<b>.jpg", 5, 3.0)
        for n, title in enumerate(HOSTILE, 1)
    ]
    publish_catalog(tmp_path / "repository", pl.DataFrame(rows, schema=SCHEMA, orient="row"), {})
    publish(tmp_path / "repository", "fusion", {"policies.yaml": POLICIES.encode()})
    flags = [f"--model-repository={tmp_path}/repository", f"--event-store=sqlite:///{tmp_path}/events.db", "--scorer="]
    flags += ["--grpc-port=0", "--metrics-port=0", "--exit-timeout-secs=0"]
    async with (
        gateway(read(GatewaySettings, flags)) as program,
        program,
        console(program.grpc_address, f"--posters={tmp_path}") as page,
    ):
        for size in (browser.WIDE, PHONE):
            async with opened(size) as tab:
                for path in ("/", "/title?id=1", "/title?id=6", "/compare", "/?user=<script>alert(1)</script>"):
                    await tab.goto(page.url + path)
                    await titles(tab)
                    assert await tab.title() != "stolen"
                    assert await tab.locator("main script, main img[src='x']").count() == 0
                    assert await tab.evaluate("document.body.scrollWidth") <= size["width"], path
                await tab.goto(page.url)
                assert len(await titles(tab)) == len(HOSTILE)


@pytest.mark.parametrize(("size", "theme"), [(browser.WIDE, "light"), (PHONE, "dark")], ids=["wide", "phone"])
async def test_pages_fit_and_axe_finds_nothing(page: Console, tmp_path: Path, theme: str, size: dict[str, int]) -> None:
    await write_experiment(f"sqlite:///{tmp_path}/events.db", 220, control="fitted", winner="rrf")
    if not browser.axe():
        pytest.skip("accessibility is not tested: axe-core cannot be had from the npm registry")
    async with opened(size, color_scheme=theme, reduced_motion="reduce") as tab:
        paths = ("/?user=42", "/?new=1&picked=6:5", "/", "/title?id=3", "/compare", "/experiments", "/models", "/api")
        for path in paths:
            await tab.goto(page.url + path)
            await tab.wait_for_load_state("networkidle")
            if size == PHONE and await tab.locator(".controls > summary").count():
                await tab.locator(".controls > summary").first.click()
            for summary in await tab.locator("details.numbers summary, details.as-call summary").all():
                await summary.click()
            await tab.wait_for_load_state("networkidle")
            assert await browser.violations(tab) == [], path
            assert await tab.evaluate("document.body.scrollWidth") <= size["width"], path


async def test_the_theme_that_is_chosen_stays(page: Console) -> None:
    async with opened(color_scheme="light") as tab:
        await tab.goto(page.url)
        ground = "getComputedStyle(document.documentElement).backgroundColor"
        light = await tab.evaluate(ground)
        await tab.get_by_role("button", name="Use the dark theme").click()
        dark = await tab.evaluate(ground)
        await tab.reload()
        assert light != dark == await tab.evaluate(ground)
