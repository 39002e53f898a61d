from pathlib import Path

import pytest

from fusion_gateway.policies import load_policies
from servers.runtime.errors import ArtifactError, InvalidArgument, NotFound

PUBLISHED = """
default: fitted
policies:
  fitted: {strategy: weighted_sum, normaliser: zscore, weights: {rating: 0.2, sequential: 0.5}, bias: 0.0}
  sure:
    normaliser: calibrated
    weights: {rating: 1}
    calibrators: {rating: {scale: 0.5, offset: 1, form: sigmoid}}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "policies.yaml"
    path.write_text(text)
    return path


def test_chooses_by_name_and_replaces_weights(tmp_path: Path) -> None:
    policies = load_policies(write(tmp_path, PUBLISHED))
    assert policies.choose("", {})[0] == "fitted"
    name, policy = policies.choose("fitted", {"rating": 0.7})
    assert (name, policy.weights) == ("fitted", {"rating": 0.7, "sequential": 0.5})
    assert policies.policies["fitted"].weights["rating"] == 0.2
    assert policies.choose("sure", {})[1].calibrators["rating"].form == "sigmoid"


def test_refuses_what_a_caller_cannot_have(tmp_path: Path) -> None:
    policies = load_policies(write(tmp_path, PUBLISHED))
    with pytest.raises(NotFound, match="policy: there is no 'best'; there are fitted, sure"):
        policies.choose("best", {})
    with pytest.raises(InvalidArgument, match="weights: no model 'poster'"):
        policies.choose("fitted", {"poster": 1})
    with pytest.raises(InvalidArgument, match="weights: at least one must be above 0"):
        policies.choose("fitted", {"rating": 0, "sequential": 0})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rating: 0.2", "rating: -1", r"policies\.fitted: weights\.rating: -1"),
        ("zscore", "zcore", r"policies\.fitted\.normaliser"),
        ("bias", "bais", r"policies\.fitted\.bais"),
        ("default: fitted", "default: best", "there is no policy 'best'"),
        ("scale: 0.5", "scale: -2", r"policies\.sure\.calibrators\.rating: scale"),
        ("weights: {rating: 1}", "weights: {rating: [}", "line 7"),
        (PUBLISHED, "[]", "valid dictionary"),
    ],
)
def test_a_broken_file_is_refused_naming_policy_and_field(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in PUBLISHED
    with pytest.raises(ArtifactError, match=f"(?s)policies.yaml: .*{message}"):
        load_policies(write(tmp_path, PUBLISHED.replace(old, new)))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot be read"):
        load_policies(tmp_path / "policies.yaml")
