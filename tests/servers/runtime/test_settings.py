import threading
from pathlib import Path
from typing import get_args

import pytest

from fusion_gateway.settings import GatewaySettings
from servers.runtime.errors import ConfigurationError
from servers.runtime.settings import DAY, ProgramSettings, ServingSettings, read
from servers.settings import ExportSettings, ServerSettings

CANNOT_BE_READ = "^--settings-file .* cannot be read: ."


def test_flag_then_environment_then_file_then_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("grpc_port: 1\nmetrics_port: 1\ndrain_secs: 1\n")
    monkeypatch.setenv("MARQUEE_SETTINGS_FILE", str(file))
    monkeypatch.setenv("MARQUEE_GRPC_PORT", "2")
    monkeypatch.setenv("MARQUEE_METRICS_PORT", "2")
    chosen = read(ServingSettings, ["--grpc-port", "3"])
    assert (chosen.grpc_port, chosen.metrics_port, chosen.drain_secs, chosen.host) == (3, 2, 1, "127.0.0.1")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("grpc_port: many", "--grpc-port: Input should be a valid integer"),
        ("grpc_prot: 1", "--settings-file .*: there is no setting 'grpc_prot'"),
        ("cli_args: 1", "--settings-file .*: there is no setting 'cli_args'"),
        ("1: 2", "--settings-file .*: there is no setting '1'"),
        ("null: 2", "--settings-file .*: there is no setting 'None'"),
        ("- 1", "--settings-file .* must hold names and values"),
        ("a: [", CANNOT_BE_READ),
        ("grpc_port: 1\ngrpc_port: 2", "cannot be read: line 1: 'grpc_port' is given 2 times there"),
        ("grpc_port: !!int x", CANNOT_BE_READ),
        ("grpc_port: 2024-13-45", CANNOT_BE_READ),
        ("grpc_port: !!timestamp x", CANNOT_BE_READ),
        ("grpc_port: " + "9" * 5000, CANNOT_BE_READ),
        ("grpc_port: " + "[" * 5000, CANNOT_BE_READ),
        ("\ud800", CANNOT_BE_READ),
        (None, CANNOT_BE_READ),
    ],
)
def test_a_file_that_is_wrong(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "settings.yaml"
    if content is not None:
        file.write_bytes(content.encode(errors="surrogatepass"))
    with pytest.raises(ConfigurationError, match=message):
        read(ServingSettings, ["--settings-file", str(file)])


def test_an_empty_file_and_names_as_flags_have_them(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    for content, level in (("", "info"), ("# nothing\n", "info"), ("log-level: debug", "debug")):
        file.write_text(content)
        assert read(ServingSettings, ["--settings-file", str(file)]).log_level == level


NEEDED: dict[type[ProgramSettings], list[str]] = {
    GatewaySettings: ["--model-repository=r"],
    ServerSettings: ["rating", "--model-repository=r"],
    ExportSettings: ["--model-repository=r", "--out=o", "--name=rating"],
}
NUMBERS = [
    (kind, name)
    for kind in NEEDED
    for name, field in kind.model_fields.items()
    if {int, float} & {field.annotation, *get_args(field.annotation)}
]


@pytest.mark.parametrize(("kind", "name"), NUMBERS, ids=[f"{kind.__name__}-{name}" for kind, name in NUMBERS])
def test_every_number_has_a_limit(kind: type[ProgramSettings], name: str) -> None:
    for value in ("inf", "nan", "1e300", "-1", "9" * 30):
        with pytest.raises(ConfigurationError, match=f"^--{name.replace('_', '-')}: Input should be"):
            read(kind, [*NEEDED[kind], f"--{name.replace('_', '-')}={value}"])


def test_the_longest_times_can_be_waited_for() -> None:
    assert DAY * 1000 < 2**31  # milliseconds of gRPC
    assert 3 * DAY < threading.TIMEOUT_MAX


def test_print_config_is_a_settings_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        read(ServingSettings, ["--grpc-port", "77", "--no-reflection", "--print-config"])
    assert ended.value.code == 0
    file = tmp_path / "settings.yaml"
    file.write_text(capsys.readouterr().out)
    assert read(ServingSettings, ["--settings-file", str(file)]).grpc_port == 77
