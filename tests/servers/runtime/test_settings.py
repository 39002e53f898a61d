from pathlib import Path

import pytest

from servers.runtime.errors import ConfigurationError
from servers.runtime.settings import ServingSettings, read


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
        ("grpc_port: many", "grpc_port: Input should be a valid integer"),
        ("grpc_prot: 1", "grpc_prot: Extra inputs are not permitted"),
        ("- 1", "must hold names and values"),
        ("a: [", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_is_wrong(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "settings.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigurationError, match=message):
        read(ServingSettings, ["--settings-file", str(file)])


def test_print_config_is_a_settings_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        read(ServingSettings, ["--grpc-port", "77", "--no-reflection", "--print-config"])
    assert ended.value.code == 0
    file = tmp_path / "settings.yaml"
    file.write_text(capsys.readouterr().out)
    assert read(ServingSettings, ["--settings-file", str(file)]).grpc_port == 77
