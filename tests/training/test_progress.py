"""How a long run is shown where there is no terminal."""

import time

import pytest

from training.progress import stage, track


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_a_log_has_a_line_now_and_then_and_one_at_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter([0, 10, 20, 31, 40, 50])
    monkeypatch.setattr("training.progress.time.monotonic", lambda: float(next(moments)))
    note = [""]
    for step in track("walk", range(3, 8), 8, note, done=3):
        note.append(f"at {step}")
    assert lines(capsys) == ["walk 6/8, 0:00:21 left at 5", "walk 8/8, 0:00:00 left at 7"]


def test_nothing_left_to_do_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track("walk", [], 8, [""], done=8)) == []
    assert lines(capsys) == []


def test_a_long_stage_names_itself_and_a_short_one_does_not(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with stage("short"):
        pass
    assert lines(capsys) == []
    monkeypatch.setattr("training.progress.SILENT_SECONDS", 0.001)
    said: list[str] = []
    with stage("long"):
        while not said:
            time.sleep(0.01)
            said = lines(capsys)
    assert said == ["long, 0 s so far"]
