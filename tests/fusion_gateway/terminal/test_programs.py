"""The programs as people start them: real processes, their output and their exit codes."""

import asyncio
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from google.protobuf import json_format
from rich.console import Console
from typer.testing import CliRunner, Result

from fusion_gateway.events.store import EventStore
from fusion_gateway.gateway import gateway
from fusion_gateway.settings import GatewaySettings
from fusion_gateway.terminal.client import app as client_app
from fusion_gateway.terminal.fallback_chain import app as fallback_chain_app
from fusion_gateway.terminal.local import app as local_app
from fusion_gateway.terminal.local import import_once
from fusion_gateway.terminal.tables import recommendations
from fusion_gateway.terminal.tokens import app as tokens_app
from protos.marquee.v1.recommender_pb2 import RecommendResponse
from servers.runtime.errors import MarqueeError, StartError
from servers.runtime.settings import read
from tests.fusion_gateway.world import MOVIES, publish_world
from tests.servers import tiny_artifact

MODELS = ("rating", "sequential", "visual_temporal")
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a repository of three real scorers and events.csv."""
    home = tmp_path_factory.mktemp("system")
    publish_world(home / "repository")
    for scale, model in enumerate(MODELS, 1):
        tiny_artifact.publish(home / "repository", model, item_numbers=range(1, 1 + len(MOVIES)), scale=scale)
    rows = [f"{user},{MOVIES[user + n][0]},{n + 1},{1000 + n}" for user in range(5) for n in range(user + 1)]
    (home / "events.csv").write_text("\n".join(["user,item,rating,time", *rows, ""]))
    return home


def run(*arguments: object, home: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *map(str, arguments)]
    environment = {**os.environ, "MARQUEE_HOME": str(home / "var"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, **options)


@pytest.fixture(scope="module")
def up(system: Path) -> Iterator[dict[str, Any]]:
    """`local up`, and what it said: the gateway's address and the whole process."""
    command = [sys.executable, "-m", "fusion_gateway.local", "up", "--any-ports"]
    command += ["--repository", str(system / "repository"), "--events", str(system / "events.csv")]
    environment = {**os.environ, "MARQUEE_HOME": str(system / "up"), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    said: list[str] = []
    for line in process.stdout:
        said.append(line.strip())
        if "Ctrl-C" in line:
            break
    [ready] = [line for line in said if line.startswith("fusion_gateway is ready at ")]
    yield {"process": process, "said": said, "address": ready.split()[4], "home": system}
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)


def client(up: dict[str, Any], *arguments: str) -> Result:
    """The client's own code, in this process; test_client_without_a_gateway starts it as a program."""
    return CliRunner().invoke(client_app, [*arguments, "--address", up["address"]])


def test_up_says_where_everything_is(up: dict[str, Any]) -> None:
    assert [line.split()[0] for line in up["said"] if " is ready at 127.0.0.1:" in line][-1] == "fusion_gateway"
    assert sum(" is ready at " in line for line in up["said"]) == 4
    assert sum(line.endswith("/metrics") for line in up["said"]) == 4
    assert any(line.startswith("15 events of 5 users are stored") for line in up["said"])
    [store] = [line.split()[-1] for line in up["said"] if line.startswith("what is recorded is kept in ")]
    assert store == f"sqlite:///{up['home']}/up/events.db"
    assert Path(store.removeprefix("sqlite:///")).exists()


def test_up_starts_the_console(up: dict[str, Any]) -> None:
    [address] = [line.split()[1] for line in up["said"] if line.startswith("open http://")]
    assert re.fullmatch(r"http://127.0.0.1:\d+/\?user=\w+", address)
    with urllib.request.urlopen(address.partition("?")[0] + "health/ready", timeout=10) as answer:
        assert answer.status == 200


def test_client_shows_ranked_movies(up: dict[str, Any]) -> None:
    shown = client(up, "recommend", "--user=4", "-k3", "--explain")
    assert shown.exit_code == 0, shown.stderr
    for text in ("rank", "score", "id", "movie", *MODELS, "because you watched", "policy fitted"):
        assert text in shown.stdout
    assert "The Prestige" in client(up, "recommend", "--genres", "drama", "--year-min", "2006").stdout


@pytest.mark.parametrize("width", [80, 160])
def test_a_real_answer_fits_the_terminal(up: dict[str, Any], width: int) -> None:
    answered = client(up, "recommend", "--user", "4", "--explain", "--json").stdout
    response = json_format.Parse(answered, RecommendResponse())
    table = recommendations(response, "For user 4", reasons=True)
    shown = io.StringIO()
    Console(file=shown, width=width).print(table)
    lines = shown.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    for ranked in response.items:
        [line] = [line for line in lines if ranked.item.title in line]
        assert f"{ranked.score:.3f}" in line
        assert ranked.item.id in line.split()


def test_client_prints_json(up: dict[str, Any]) -> None:
    shown = client(up, "recommend", "--history=1,3:4.5", "--weights=rating=0.7,sequential=0.3", "--json")
    reply = json.loads(shown.stdout)
    assert (reply["history_used"], reply["fallback"], len(reply["items"])) == (2, "FALLBACK_FOLD_IN", 8)
    assert "explanation" not in reply["items"][0]


def test_client_knows_the_other_calls(up: dict[str, Any]) -> None:
    assert "The Prestige" in client(up, "search", "prestige the").stdout
    assert "Like Interstellar" in client(up, "similar", "interstella").stdout
    for _ in range(2):
        said = client(up, "record", "--user=zoe", "--item=6", "--rating=4.5", "--event-id=e1")
    assert said.stdout == "known already: Fargo (1996)\n"
    assert "Fargo (1996)" in client(up, "history", "--user", "zoe").stdout
    unknown = client(up, "record", "--user=zoe", "--item=999")
    assert unknown.stdout == "recorded: the catalog has no item 999, so it is skipped until it has\n"
    assert "not in the catalog" in client(up, "history", "--user", "zoe").stdout
    history = json.loads(client(up, "history", "--user", "zoe", "--json").stdout)
    assert [(event["item_id"], event.get("rating")) for event in history["events"]] == [("999", None), ("6", 4.5)]
    assert client(up, "status").stdout.count("yes") == 3


def test_client_says_what_went_wrong(up: dict[str, Any]) -> None:
    for arguments, message in [
        (["recommend", "-k", "501"], "error: k: must be 1 to 500, not 501"),
        (["recommend", "--policy", "best"], "error: policy: there is no 'best'"),
        (["similar", "the godfather"], "error: no movie found with a title similar to 'the godfather'"),
        (["recommend", "--weights", "rating=much"], "'much' is not a number"),
        (["recommend", "--weights", "rating"], "'rating' must be NAME=NUMBER"),
        (["recommend", "--history", "[1"], "not a JSON list of events"),
        (["similar"], "give one of a title, --item and --image"),
        (["similar", "fargo", "--item", "3"], "give one of a title, --item and --image"),
        (["similar", "--image", "nowhere.png"], "--image nowhere.png: No such file or directory"),
    ]:
        failed = client(up, *arguments)
        assert failed.exit_code != 0
        assert message in failed.stderr


def test_client_erases_a_user(up: dict[str, Any]) -> None:
    assert client(up, "record", "--user", "leaving", "--item", "6").stdout.startswith("recorded: ")
    assert client(up, "delete-user", "--user", "leaving").exit_code == 1  # not confirmed
    assert client(up, "delete-user", "--user", "leaving", "--yes").stdout == "1 event is erased\n"
    assert "nothing is stored" in client(up, "history", "--user", "leaving").stdout


def test_client_pages_and_records_what_became_of_an_answer(up: dict[str, Any]) -> None:
    recommend = ("recommend", "--user", "pager", "-k", "3")

    def page(*arguments: str) -> tuple[list[str], str]:
        answer = json.loads(client(up, *recommend, "--json", *arguments).stdout)
        return [ranked["item"]["id"] for ranked in answer["items"]], answer["recommendation_id"]

    first, answered = page()
    shown_to_people = client(up, *recommend).stdout
    assert f"--after {answered[:4]}" in shown_to_people
    second, _ = page("--after", answered)
    assert not {*first} & {*second}
    shown = {*first, *second}
    assert not shown & {*page("--exclude-served", "3600")[0]}
    pager = ("--user", "pager")
    click = ["--item", first[0], "--type", "click", "--recommendation", answered, "--value", "2.5"]
    assert client(up, "record", *pager, *click).stdout.startswith("recorded: ")
    [event] = json.loads(client(up, "history", "--user", "pager", "--json").stdout)["events"]
    assert (event["type"], event["recommendation_id"], event["value"]) == ("click", answered, 2.5)
    refused = client(up, "record", *pager, "--item=3", "--type=clik")
    assert "type: there is no 'clik'; there are click, " in refused.stderr
    assert client(up, "delete-user", "--user", "pager", "--yes").stdout == "1 event and 4 answers are erased\n"


def test_client_says_that_nothing_is_known_or_found(up: dict[str, Any]) -> None:
    assert "no history of user stranger" in client(up, "recommend", "--user", "stranger").stdout
    assert "no history" not in client(up, "recommend", "--user", "4").stdout
    assert "no history" not in client(up, "recommend", "--user", "stranger", "--history", "3").stdout
    assert "nothing is stored about user stranger" in client(up, "history", "--user", "stranger").stdout
    nothing = client(up, "recommend", "--genres", "comdy", "--year-min", "1990").stdout
    assert "no movie matches --genres comdy --year-min 1990" in nothing
    assert "from the popularity list" not in nothing
    arguments = ["--genres", "comdy,Drama", "--not-genres", "horor", "--occupation", "pilot"]
    some = client(up, "recommend", *arguments).stdout
    assert "the data has no genre 'comdy', genre 'horor', occupation 'pilot'; python -m fusion_gateway" in some
    assert "the data has no genre 'comdy'; python -m fusion_gateway list-names prints the names" in nothing


def test_client_recommends_among_given_items(up: dict[str, Any]) -> None:
    arguments = ["recommend", "--items", "3,5,6", "--not-items", "5", "--json"]
    reply = json.loads(client(up, *arguments).stdout)
    assert {each["item"]["id"] for each in reply["items"]} == {"3", "6"}


def test_client_recommends_by_an_expression(up: dict[str, Any]) -> None:
    arguments = ["recommend", "--json", "--where", '{"one_of": {"attribute": "id", "texts": ["3", "6"]}}']
    reply = json.loads(client(up, *arguments).stdout)
    assert {each["item"]["id"] for each in reply["items"]} == {"3", "6"}
    refused = client(up, "recommend", "--where", "{1}")
    assert "not a JSON expression" in refused.stderr


@pytest.mark.parametrize(
    ("history", "used", "skipped"),
    [
        ("3:4.5,1:2", 2, 0),
        ("a:b,3", 1, 1),
        ("3:nan", 0, 1),
        ('[{"item_id": "3", "rating": 4}, {"item_id": "a,b"}]', 1, 1),
    ],
)
def test_a_history_of_any_ids(up: dict[str, Any], history: str, used: int, skipped: int) -> None:
    reply = json.loads(client(up, "recommend", "--history", history, "--json").stdout)
    assert (reply.get("history_used", 0), reply.get("history_skipped", 0)) == (used, skipped)


def test_an_address_with_a_scheme(up: dict[str, Any]) -> None:
    failed = CliRunner().invoke(client_app, ["status", "--address", f"http://{up['address']}/"])
    assert failed.exit_code == 2
    assert f"without http://: give {up['address']}" in " ".join(failed.stderr.replace("│", " ").split())


def test_an_address_without_a_port() -> None:
    failed = CliRunner().invoke(client_app, ["status", "--address", "localhost"])
    assert failed.exit_code == 2
    said = " ".join(failed.stderr.replace("│", " ").split())
    assert "'localhost': an address is host:port, such as localhost:8001" in said


def test_a_title_of_several_words_needs_no_quotes(up: dict[str, Any]) -> None:
    assert "Like The Big Lebowski" in client(up, "similar", "big", "lebowski").stdout
    assert "The Big Lebowski" in client(up, "search", "big", "lebowski", "-k1").stdout


def test_a_second_up_in_the_same_folder_is_refused(up: dict[str, Any]) -> None:
    flags = ["--any-ports", "--repository", up["home"] / "repository", "--events", up["home"] / "events.csv"]
    environment = {**os.environ, "MARQUEE_HOME": str(up["home"] / "up")}
    command = [sys.executable, "-m", "fusion_gateway.local", "up", *map(str, flags)]
    second = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert second.returncode == 1
    process, folder = up["process"].pid, up["home"] / "up"
    assert second.stderr.startswith(f"error: {folder}/local.lock is held by process {process} on ")
    assert second.stderr.endswith(": it runs a system here; stop it, or set MARQUEE_HOME to another folder\n")
    assert client(up, "status").exit_code == 0


async def test_a_file_is_imported_once_so_that_erased_users_stay_away(
    system: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, file = f"sqlite:///{tmp_path}/events.db", tmp_path / "events.csv"
    file.write_text((system / "events.csv").read_text())
    assert (await import_once(url, file))["4"] == 5
    store = EventStore(url, 100)
    await store.open()
    assert await store.delete_user("4") == 5
    await store.close()
    capsys.readouterr()
    again = await import_once(url, file)
    assert (again["4"], again.total()) == (0, 10)
    assert capsys.readouterr().out == (
        f"{file} was imported before: it is not read again\n10 events of 4 users are stored\n"
    )
    file.write_text(f"{file.read_text()}9,{MOVIES[0][0]},3,2000\n")
    assert (await import_once(url, file))["9"] == 1


async def test_an_import_that_ended_early_is_made_again(tmp_path: Path) -> None:
    url, file = f"sqlite:///{tmp_path}/events.db", tmp_path / "events.csv"
    file.write_text("user,item,rating,time\n1,1,5,9\n1,2,5,soon\n")
    with pytest.raises(MarqueeError, match="line 3"):
        await import_once(url, file)
    store = EventStore(url, 100)
    await store.open()
    assert not await store.imported()
    await store.close()


def test_up_prints_a_command_that_runs(up: dict[str, Any]) -> None:
    [command] = [line for line in up["said"] if "fusion_gateway.client" in line]
    python, module = command.split()[:3:2]
    assert (python, module) == (
        ".venv/bin/python" if Path(sys.executable).is_relative_to(ROOT) else "python",
        "fusion_gateway.client",
    )


COMMANDS = ["", "recommend", "similar", "search", "record", "history", "delete-user", "status"]
HELP = [
    (local_app, "local", "up"),
    (local_app, "local", "demo"),
    (fallback_chain_app, "fallback_chain", ""),
    (tokens_app, "tokens", ""),
]
HELP += [(client_app, "client", name) for name in COMMANDS]


@pytest.mark.parametrize(("app", "program", "command"), HELP)
def test_help_has_an_example_and_says_what_options_take(app: typer.Typer, program: str, command: str) -> None:
    shown = " ".join(CliRunner().invoke(app, [*command.split(), "--help"]).stdout.split())
    assert f"Example: python -m fusion_gateway.{program} {command}" in shown
    assert "<str>" not in shown


def test_options_of_recommend_are_grouped() -> None:
    shown = CliRunner().invoke(client_app, ["recommend", "--help"]).stdout
    groups = re.findall(r"╭─ ([\w ]+) ─", shown)
    assert groups == ["Options", "User", "Filters", "The list", "Connection and output"]


@pytest.mark.parametrize("command", ["", "import-events", "export-events", "list-users"])
def test_help_of_the_gateway_is_grouped(command: str, tmp_path: Path) -> None:
    shown = run("fusion_gateway", *command.split(), "--help", home=tmp_path).stdout
    for text in ("Event store", "--event-store", "[default: 5000]", f"Example: python -m fusion_gateway {command}"):
        assert text in " ".join(shown.split())


def test_client_without_a_gateway(tmp_path: Path) -> None:
    failed = run("fusion_gateway.client", "status", "--address", "127.0.0.1:1", home=tmp_path)
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: no gateway answers at 127.0.0.1:1")
    assert failed.stderr.endswith("; --address names another, `make up` starts one here\n")


async def test_what_a_gateway_cannot_do_is_said_in_its_own_words(system: Path, tmp_path: Path) -> None:
    flags = [f"--model-repository={system}/repository", f"--event-store=sqlite:///{tmp_path}/events.db"]
    flags += ["--scorer=rating=127.0.0.1:1", "--grpc-port=0", "--metrics-port=0", "--exit-timeout-secs=0"]
    async with gateway(read(GatewaySettings, flags)) as program, program:
        arguments = ["similar", "--item", "3", "--weights", "rating=1", "--address", program.grpc_address]
        failed = await asyncio.to_thread(CliRunner().invoke, client_app, arguments)
    assert failed.exit_code == 1
    assert failed.stderr.startswith("error: rating: ")


def test_demo_asks_three_times_and_leaves_nothing_running(system: Path) -> None:
    flags = ["--repository", system / "repository", "--events", system / "events.csv"]
    demo = run("fusion_gateway.local", "demo", *flags, home=system)
    assert demo.returncode == 0, demo.stderr
    for text in ("For user 2", "For a new user who has watched Fargo", "For an anonymous user", "the popularity list"):
        assert text in demo.stdout
    [logs] = (system / "var" / "logs").iterdir()
    assert {log.stem for log in logs.iterdir()} == {*MODELS, "fusion_gateway"}
    for log in logs.iterdir():
        assert json.loads(log.read_text().splitlines()[-1])["event"] == "stopped"
    assert [path.name for path in (system / "var").iterdir()] == ["logs"]


def test_demo_may_end_with_the_loop(system: Path, tmp_path: Path) -> None:
    """Two policies, simulated users, and what came of it."""
    flags = ["--repository", system / "repository", "--events", system / "events.csv", "--loop-seconds", "4"]
    demo = run("fusion_gateway.local", "demo", *flags, home=tmp_path)
    assert demo.returncode == 0, demo.stderr
    _, simulated, outcomes = re.split("^python -m .*$", demo.stdout, flags=re.MULTILINE)
    assert "100 answers in 4 s" in simulated
    for table in (simulated, outcomes):
        assert re.search("^popular .*[0-9]", table, re.MULTILINE)
        assert re.search("^fitted .*[0-9]", table, re.MULTILINE)
    assert "failed calls" not in simulated


def test_each_run_has_logs_of_its_own(system: Path, tmp_path: Path) -> None:
    flags = ["--repository", system / "repository", "--events", system / "events.csv"]
    for _ in range(2):
        assert run("fusion_gateway.local", "demo", *flags, home=tmp_path).returncode == 0
    logs = list((tmp_path / "var" / "logs").glob("*/rating.log"))
    assert [log.read_text().count('"stopped"') for log in logs] == [1, 1]


def test_up_stops_everything_when_one_process_dies(system: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fusion_gateway.local", "up", "--any-ports"]
    command += ["--repository", str(system / "repository"), "--events", str(system / "events.csv")]
    environment = {**os.environ, "MARQUEE_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout
        while "Ctrl-C" not in process.stdout.readline():
            pass
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 5
        os.kill(int(children[0]), signal.SIGKILL)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "ended with code -9" in stderr
    assert "its log is" in stderr
    assert not any(Path(f"/proc/{child}").exists() for child in children)


@pytest.mark.parametrize(
    ("repository", "message"),
    [
        ("nowhere", "nowhere is not a directory"),
        ("empty", "empty holds nothing"),
        ("truncated", "rating/1: items.safetensors has 3 bytes"),
    ],
)
def test_demo_with_a_bad_repository(tmp_path: Path, repository: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    tiny_artifact.publish(tmp_path / "truncated")
    (tmp_path / "truncated/rating/1/items.safetensors").write_bytes(b"cut")
    failed = CliRunner().invoke(local_app, ["demo", "--repository", str(tmp_path / repository)])
    assert failed.exit_code == 1
    assert re.fullmatch(f"error: .*{message}.*\n", failed.stderr)


def test_up_names_the_events_that_are_not_there(system: Path, tmp_path: Path) -> None:
    failed = run("fusion_gateway.local", "up", "--repository", system / "repository", home=tmp_path)
    assert failed.returncode == 1
    missing = tmp_path / "var/imported/generated/events.parquet"
    assert failed.stderr == f"error: there is no {missing}, which 'make publish' makes: name a file with --events\n"


def test_demo_with_a_broken_events_file(system: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.csv").write_text("user,item,rating,time\n1,1,5,9\n1,1,5,soon\n")
    flags = ["--repository", system / "repository", "--events", tmp_path / "broken.csv"]
    failed = run("fusion_gateway.local", "demo", *flags, home=tmp_path)
    assert failed.returncode == 1
    assert re.fullmatch("error: .*broken.csv: line 3: time 'soon' is not read as unix seconds: .*\n", failed.stderr)
    assert [path.name for path in (tmp_path / "var").iterdir()] == ["logs"]


def test_an_unknown_command_names_those_that_there_are(tmp_path: Path) -> None:
    failed = run("fusion_gateway", "list-user", home=tmp_path)
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: no command 'list-user'; there are import-events, export-events, ")


@pytest.mark.parametrize("weights", ["rating", "rating=", "=1"])
def test_a_weight_needs_a_name_and_a_number(weights: str) -> None:
    failed = CliRunner().invoke(client_app, ["recommend", "--weights", weights])
    assert failed.exit_code == 2
    assert f"'{weights}' must be NAME=NUMBER, such as rating=0.7" in " ".join(failed.stderr.replace("│", " ").split())


def test_import_events(system: Path, tmp_path: Path) -> None:
    store = f"--event-store=sqlite:///{tmp_path}/events.db"
    done = run("fusion_gateway", "import-events", system / "events.csv", store, home=tmp_path)
    assert (done.returncode, done.stdout) == (0, "15 new events are in the event store\n"), done.stderr


def test_users_and_names_are_listed(system: Path, tmp_path: Path) -> None:
    store = f"--event-store=sqlite:///{tmp_path}/events.db"
    missing = run("fusion_gateway", "list-users", store, home=tmp_path)
    assert missing.returncode == 1
    assert "there is no file" in missing.stderr
    run("fusion_gateway", "import-events", system / "events.csv", store, home=tmp_path)
    listed = run("fusion_gateway", "list-users", "--limit=2", store, home=tmp_path).stdout.splitlines()[2:]
    assert [line.split() for line in listed] == [
        ["4", "5", "1970-01-01", "00:16:44"],
        ["3", "4", "1970-01-01", "00:16:43"],
    ]
    names = run("fusion_gateway", "list-names", f"--model-repository={system}/repository", home=tmp_path)
    assert "Crime, Drama" in names.stdout, names.stderr
    assert "occupation" in names.stdout


def test_an_occupied_port(system: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        flags = [f"--model-repository={system}/repository", f"--grpc-port={port}", "--metrics-port=0"]
        failed = run("fusion_gateway", *flags, home=tmp_path)
    assert failed.returncode == 1
    [said] = [line for line in failed.stderr.splitlines() if line.startswith("error")]
    assert said.startswith(f"error: cannot listen on 127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model-repository={home}/nowhere"], "nowhere is not a directory"),
        (["--model-repository={home}"], "has no version of 'catalog'"),
        (["--event-store=mysql://host/db"], "mysql:// is not supported"),
        (["--scorer=rating"], "scorer: 'rating' must be NAME=ADDRESS"),
        (["--scorer=a=b:1", "--scorer=a=b:2"], "every name there once"),
        (["--scorer=rating=http://b:1"], "an address is host:port, without http://"),
        (["--scorer=rating=localhost"], "'localhost': an address is host:port, such as localhost:8001"),
        (["--retrieve-k=0"], "--retrieve-k: .*greater than or equal to 1"),
    ],
)
async def test_the_gateway_says_why_it_cannot_start(
    system: Path, tmp_path: Path, flags: list[str], message: str
) -> None:
    good = [f"--model-repository={system}/repository", f"--event-store=sqlite:///{tmp_path}/events.db"]
    with pytest.raises(StartError, match=message):
        async with gateway(read(GatewaySettings, [*good, *(flag.format(home=tmp_path) for flag in flags)])):
            pass
