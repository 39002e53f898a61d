import re
from contextlib import suppress
from pathlib import Path

import pytest

from fusion_gateway.policies import Policies, load_policies
from servers.runtime.errors import ArtifactError, InvalidArgument, NotFound

PUBLISHED = """
default: fitted
policies:
  fitted: {strategy: weighted_sum, normalizer: zscore, weights: {rating: 0.2, sequential: 0.5}, bias: 0.0}
  sure:
    normalizer: calibrated
    weights: {rating: 1}
    calibrators: {rating: {scale: 0.5, offset: 1, form: sigmoid}}
"""
ADAPTIVE = """
split: {sure: 25}
adaptive:
  metric: click
  floor: 5
  guardrail: {metric: dismiss, at_most: 1.2}
default: fitted
policies:
  fitted: {weights: {rating: 1}}
  sure: {weights: {sequential: 1}}
"""
MANY = "\n".join(f"  p{n}: {{weights: {{rating: 1}}}}" for n in range(1001))
THIRD = "  third: {weights: {rating: 1}}\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "policies.yaml"
    path.write_text(text)
    return path


def test_chooses_by_name_and_replaces_weights(tmp_path: Path) -> None:
    policies = load_policies(write(tmp_path, PUBLISHED))
    assert policies.choose("", {})[0] == "fitted"
    name, policy, _ = policies.choose("fitted", {"rating": 0.7})
    assert (name, policy.weights) == ("fitted", {"rating": 0.7, "sequential": 0.5})
    assert policies.policies["fitted"].weights["rating"] == 0.2
    assert policies.choose("sure", {})[1].calibrators["rating"].form == "sigmoid"


def test_a_number_may_be_written_with_an_exponent_alone(tmp_path: Path) -> None:
    policies = load_policies(write(tmp_path, PUBLISHED.replace("rating: 0.2", "rating: 2e-1")))
    assert policies.policies["fitted"].weights["rating"] == 0.2


def test_a_request_with_its_own_weights_draws_no_policy(tmp_path: Path) -> None:
    policies = load_policies(write(tmp_path, PUBLISHED + "split: {sure: 50}\n"))
    assert policies.choose("", {}, "anna").probability == 0.5
    assert policies.choose("", {"rating": 0.7}, "anna").probability == 1


def test_refuses_what_a_caller_cannot_have(tmp_path: Path) -> None:
    policies = load_policies(write(tmp_path, PUBLISHED))
    assert policies.choose("", {}, "anna")[0] == "fitted"
    with pytest.raises(NotFound, match="policy: there is no 'best'; there are fitted, sure"):
        policies.choose("best", {})
    with pytest.raises(InvalidArgument, match="weights: no model 'poster'"):
        policies.choose("fitted", {"poster": 1})
    with pytest.raises(InvalidArgument, match="weights: at least one must be above 0"):
        policies.choose("fitted", {"rating": 0, "sequential": 0})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rating: 0.2", "rating: -1", r"policies\.fitted: weights\.rating: must be 0 to 1e\+12, not -1"),
        ("zscore", "zcore", r"policies\.fitted\.normalizer"),
        ("bias", "bais", r"policies\.fitted\.bais"),
        ("default: fitted", "default: best", "line 2: default: there is no policy 'best'"),
        ("zscore", "zcore", "line 4: "),
        ("rating: 0.2", "rating: -1", "line 4: "),
        ("scale: 0.5", "scale: -2", "line 8: "),
        ("scale: 0.5", "scale: 1.0e+300", "line .*scale: must be -1e[+]12 to 1e[+]12, not 1e[+]300"),
        (
            "default: fitted",
            "default: fitted\nsplit: {sure: 101}",
            "line 3: split.sure: must be 0 to 100 percent, not 101",
        ),
        ("default: fitted", "default: fitted\nsplit: {best: 1}", "line 3: split.best: there is no policy 'best'"),
        ("default: fitted", "default: fitted\nshadow: {policy: best}", "line 3: shadow.policy: there is no policy"),
        ("default: fitted", "default: fitted\nshadow: {policy: sure, share: 2}", r"line 3: shadow\.share: "),
        (
            "default: fitted",
            "default: fitted\nadaptive: {metric: click}",
            "line 3: adaptive: split must name the policies beside",
        ),
        (
            PUBLISHED,
            ADAPTIVE.replace("click", "clack"),
            "line 4: adaptive.metric: there is no 'clack'; there are click,",
        ),
        (PUBLISHED, ADAPTIVE.replace("floor: 5", "floor: 51"), "line 5: adaptive.floor: .* less than or equal to 50"),
        (PUBLISHED, ADAPTIVE.replace("25", "100"), "line 2: split: an adaptive one needs more than 0 percent for each"),
        (PUBLISHED, ADAPTIVE.replace("25", "0"), "line 2: split: an adaptive one needs more than 0 percent for each"),
        (
            PUBLISHED,
            ADAPTIVE.replace("25", "25, third: 1").replace("floor: 5", "floor: 40") + THIRD,
            "line 5: adaptive.floor: at most 33.3333 percent each for 3 policies",
        ),
        (
            PUBLISHED,
            ADAPTIVE.replace("at_most", "at_least: 1, at_most"),
            "line 6: adaptive.guardrail: exactly one of at_most and at_least must be given",
        ),
        (
            PUBLISHED,
            ADAPTIVE.replace("sure: 25", ", ".join(f"p{n}: 1" for n in range(20))) + MANY[: MANY.index("  p20")],
            "line 2: split: an adaptive one has at most 20 policies, not 21",
        ),
        (PUBLISHED, ADAPTIVE.replace("dismiss", "x"), "line 6: adaptive.guardrail.metric: there is no 'x'; there are"),
        (PUBLISHED, ADAPTIVE.replace("floor", "flor"), "line 5: adaptive.flor: Extra inputs are not permitted"),
        ("scale: 0.5", "scale: -2", r"policies\.sure\.calibrators\.rating: scale"),
        ("weights: {rating: 1}", "weights: {rating: [}", "line 7"),
        (PUBLISHED, "[]", "the file has to map `default` and `policies`"),
    ],
)
def test_a_broken_file_is_refused_naming_policy_and_field(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in PUBLISHED
    with pytest.raises(ArtifactError, match=f"(?s)policies.yaml: .*{message}"):
        load_policies(write(tmp_path, PUBLISHED.replace(old, new)))


EVERY_NUMBER = """
default: switching
split: {learned: 1}
shadow: {policy: learned, share: 1}
rules: [{name: "1", genre: "1984", boost: 1}]
policies:
  switching:
    strategy: switching
    weights: {a: 1}
    min_ratings: {a: 1}
    switches: [{max_events: 1, max_ratings: 1, weights: {a: 1}}]
  cascade: {strategy: cascade, gate: a, keep: 1, weights: {a: 1}}
  learned: {strategy: learned, weights: {a: 1}, units: [{weights: {a: 1}, bias: 1, out: 1}]}
  adaptive: {strategy: adaptive, weights: {a: 1}, floor: 0.5, slopes: {a: {events: 1, ratings: 1}}}
  bias: {strategy: weighted_sum_bias, weights: {a: 1}, bias: 1}
  threshold: {strategy: threshold, weights: {a: 1}, thresholds: {a: 1}}
  calibrated: {normalizer: calibrated, weights: {a: 1}, calibrators: {a: {scale: 1, offset: 1}}}
"""
NUMBERS = list(re.finditer(r"(?<=: )[\d.]+(?=[,}])", EVERY_NUMBER))


@pytest.mark.parametrize("value", ["true", "'1'", "2026-01-31"])
def test_a_number_is_nothing_else(tmp_path: Path, value: str) -> None:
    load_policies(write(tmp_path, EVERY_NUMBER))
    taken = []
    for number in NUMBERS:
        text = EVERY_NUMBER[: number.start()] + value + EVERY_NUMBER[number.end() :]
        with suppress(ArtifactError):
            load_policies(write(tmp_path, text))
            taken.append(text[: number.end() + len(value)].splitlines()[-1])
    assert taken == []
    assert len(NUMBERS) == 25


UNREADABLE = [
    ("weights: {rating: 1}", "weights: {rating: 2024-13-45}", "cannot be read as YAML: month must be in 1..12"),
    ("weights: {rating: 1}", "weights: {rating: !!int x}", "cannot be read as YAML: invalid literal"),
    ("weights: {rating: 1}", "weights: {rating: !!float x}", "cannot be read as YAML: could not convert"),
    ("weights: {rating: 1}", "weights: {rating: !!bool maybe}", "cannot be read as YAML: 'maybe'"),
    ("weights: {rating: 1}", "weights: {rating: !!timestamp x}", "cannot be read as YAML: "),
    ("weights: {rating: 1}", "weights: {rating: %s}" % ("9" * 5000), "cannot be read as YAML: Exceeds the limit"),
    ("weights: {rating: 1}", "weights: %s" % ("[" * 2000), "cannot be read as YAML: maximum recursion depth"),
    ("weights: {rating: 1}", "weights: %s" % ("[" * 5001), "opening brackets are too many; at most 5000"),
    ("weights: {rating: 1}", "weights: %s1" % ("{a: " * 2000), "cannot be read as YAML: maximum recursion depth"),
    ("weights: {rating: 1}", "weights: {rating: &a 1, linear: *a}", "cannot be read as YAML: aliases"),
    ("weights: {rating: 1}", "weights: {rating: 1, rating: 2}", r"line \d+: 'rating' is given 2 times"),
    ("default: fitted", "default: fitted #" + "x" * (64 << 10), "cannot be read: larger than 65536 bytes"),
    ("policies:\n", f"policies:\n{MANY}\n", "policies: .*at most 1000 items"),
]


@pytest.mark.parametrize(("old", "new", "message"), UNREADABLE)
def test_whatever_yaml_raises_is_said_in_a_few_words(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ArtifactError, match=f"(?s)policies.yaml: .*{message}") as caught:
        load_policies(write(tmp_path, PUBLISHED.replace(old, new)))
    assert len(str(caught.value)) < 1000


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    path.write_bytes(b"default: \xff")
    with pytest.raises(ArtifactError, match="is not UTF-8"):
        load_policies(path)


def test_a_split_has_its_proportions_and_is_stable(tmp_path: Path) -> None:
    more = PUBLISHED + "  third: {weights: {rating: 1}}\n"
    users, chosen = [f"user {number}" for number in range(100_000)], {}
    for split in ("sure: 10", "sure: 10, third: 30"):
        policies = load_policies(write(tmp_path, f"split: {{{split}}}\n{more}"))
        chosen[split] = [policies.assigned(user)[0] for user in users]
        assert policies.choose("", {}, users[0])[0] == chosen[split][0]
        assert policies.choose("fitted", {}, users[0])[0] == "fitted"
        assert policies.assigned("") == ("fitted", 1)
    before, after = chosen.values()
    for share, name, arms in [
        (0.1, "sure", before),
        (0.1, "sure", after),
        (0.3, "third", after),
        (0.6, "fitted", after),
    ]:
        error = 4 * (share * (1 - share) / len(users)) ** 0.5
        assert arms.count(name) / len(users) == pytest.approx(share, abs=error)
    assert {pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]} == {("fitted", "third")}


def test_an_adaptive_split_begins_with_its_percentages_and_takes_others(tmp_path: Path) -> None:
    policies = load_policies(write(tmp_path, ADAPTIVE))
    assert policies.shares.percent() == {"sure": 25, "fitted": 75}
    users = [f"user {number}" for number in range(20_000)]
    before = [policies.choose("", {}, user).name for user in users]
    policies.use(policies.shares.moved_to({"sure": 60, "fitted": 40}))
    after = [policies.choose("", {}, user) for user in users]
    assert {choice.probability for choice in after if choice.name == "sure"} == {0.6}
    moved = [(old, new.name) for old, new in zip(before, after, strict=True) if old != new.name]
    assert set(moved) == {("fitted", "sure")}
    assert len(moved) / len(users) == pytest.approx(0.35, abs=0.02)


def test_an_adaptive_split_that_is_changed_is_another(tmp_path: Path) -> None:
    def key(old: str = "", new: str = "") -> str:
        return load_policies(write(tmp_path, ADAPTIVE.replace(old, new))).split_key

    assert key() == key("floor: 5", "floor: 6") == key("rating: 1", "rating: 2")
    changes = [("25", "30"), ("click", "like"), ("1.2", "1.3"), ("click", "click\n  window_seconds: 60")]
    assert len({key(), *(key(*change) for change in changes)}) == 5


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot be read"):
        load_policies(tmp_path / "policies.yaml")


def test_a_policys_probability_is_its_share_of_the_users() -> None:
    document = {"default": "a", "policies": {name: {"weights": {"rating": 1}} for name in "abc"}}
    policies = Policies.model_validate({**document, "split": {"b": 10, "c": 25}})
    users = [f"user {number}" for number in range(4000)]
    for name, share in (("a", 0.65), ("b", 0.1), ("c", 0.25)):
        theirs = [user for user in users if policies.choose("", {}, user).name == name]
        [probability] = {policies.choose("", {}, user).probability for user in theirs}
        assert probability == pytest.approx(share)
        error = (share * (1 - share) / len(users)) ** 0.5
        assert len(theirs) / len(users) == pytest.approx(share, abs=5 * error)
    assert policies.choose("b", {}, "anna").probability == policies.choose("", {}).probability == 1
