"""Which ports a local system takes."""

import socket

import pytest

from fusion_gateway.terminal import ports
from fusion_gateway.terminal.ports import documented_ports

NAMES = ["linear", "rating", "fusion_gateway"]


def test_the_documented_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_is_taken", lambda port: False)
    assert documented_ports(NAMES) == {"linear": (8041, 8042), "rating": (8011, 8012), "fusion_gateway": (8001, 8002)}
    assert documented_ports(["rating", "novel", "other"]) == {
        "rating": (8011, 8012),
        "novel": (8051, 8052),
        "other": (8061, 8062),
    }


def test_the_next_free_port_instead_of_one_that_is_taken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ports, "_is_taken", {8011, 8013, 8042}.__contains__)
    assert documented_ports(NAMES) == {"linear": (8041, 8043), "rating": (8012, 8014), "fusion_gateway": (8001, 8002)}
    assert "port 8011 is taken: rating listens on 8012" in capsys.readouterr().out


def test_a_port_that_listens_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert ports._is_taken(port)
    assert not ports._is_taken(port)
