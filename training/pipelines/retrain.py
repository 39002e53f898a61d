"""Retraining that is safe to leave alone: from the event store to a published version, or to a refusal with reasons.

The work and the reports are in `.retrain` inside the repository, which no server reads.
"""

import asyncio
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from fusion_gateway.events.exporting import export_events
from fusion_gateway.ingest.event_types import NO_HISTORY, history
from servers.runtime.file_lock import locked
from training.artifacts.repository import known_numbers, latest, read_manifest, republish, versions
from training.data.dataset import EVENTS, Dataset, assemble
from training.data.load import load_dataset, with_unlisted
from training.data.validate import validate
from training.errors import TrainingError
from training.evaluation.measure import default_policy, read_policy
from training.evaluation.newest_slice import FUSED, Compared, Queries, Seen, compare, seen, split_at_newest
from training.pipelines.catalog import read_attributes_of
from training.pipelines.every_model import Instead, train_all
from training.pipelines.fitted_policies import carry_on
from training.pipelines.job import Job
from training.pipelines.retrain_loss import note_loss, read_loss
from training.pipelines.retrain_report import MAX_REPORTS, write_reports
from training.pipelines.retrain_run import Facts, Run
from training.progress import console
from training.published import read_table, read_text
from training.recipes import RECIPES

HOME = ".retrain"
PUBLISHED, WORSE, CANNOT_TELL = 0, 3, 4
"""Exit codes; 1 is an error, after which nothing has been decided."""
DESCRIBED = ["id", "title", "year", "genres", "director"]
"""What a published catalog has of an item that training reads."""


@dataclass(frozen=True)
class Settings:
    """What is retrained from what, and when that is published."""

    store: str
    """URL of the event store."""
    repository: Path
    recipe: str
    described: Path | None
    """Data folder whose items, users, posters and tags describe what the store's events name."""
    newest: float
    """Share of the events that is held out."""
    min_users: int
    """Users with a held-out event, fewer of whom tell nothing."""
    margin: float
    """Share of the serving versions' NDCG@10, a loss of which is accepted, of all retrainings in a row together."""
    always: bool
    """Publish whatever the comparison says."""
    policies: Path | None = None
    """File of policies that the gateway is given; both sides are compared with its default policy."""

    def digest(self) -> str:
        """Equal for the same settings; it does not give away the URL, which may hold a password."""
        values = {name: str(value) for name, value in asdict(self).items()}
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()


@dataclass(frozen=True)
class Verdict:
    """Whether it is published, and why."""

    exit_code: int
    reason: str

    @property
    def is_published(self) -> bool:
        return self.exit_code == PUBLISHED


@dataclass(frozen=True)
class Outcome:
    verdict: Verdict
    report: Path
    """The folder of report.html and report.json."""
    facts: Facts


def retrain(settings: Settings) -> Outcome:
    """Stages that are done already are not done again.

    Raises ConfigurationError where another retraining holds the repository or the event store cannot be read,
    TrainingError where a stage cannot be done.
    """
    home = settings.repository / HOME
    with locked(home / "lock", "wait until it ends, or end it"):
        serving = seen(settings.repository)
        run = Run.open(home / "run", settings.digest(), {each.model: each.version for each in serving})
        if run.resumed:
            _say(f"going on with the run of {_moment(run.facts['started'])}")
        return Retraining(settings, run, serving).finish()


class Retraining:
    """The stages of one run, in order."""

    def __init__(self, settings: Settings, run: Run, serving: Sequence[Seen]) -> None:
        self._settings, self._run = settings, run
        self._repository, self._candidate = settings.repository, run.folder / "candidate"
        if "seen" not in run.facts:
            run.save(seen=[asdict(each) for each in serving])
        self._seen = [Seen(**each) for each in run.facts["seen"]]

    def finish(self) -> Outcome:
        if "verdict" not in self._run.facts:
            verdict = self._judged()
            self._run.save(verdict=asdict(verdict))
        verdict = Verdict(**self._run.facts["verdict"])
        if verdict.is_published:
            self._publish()
            self._note_loss()
        reports = self._repository / HOME / "reports"
        folder = reports / _moment(self._run.facts["started"]).replace(":", "")
        write_reports(self._run.facts, folder)
        for old in sorted(reports.iterdir())[:-MAX_REPORTS]:
            shutil.rmtree(old)
        self._run.finish()
        return Outcome(verdict, folder, self._run.facts)

    def _judged(self) -> Verdict:
        self._export()
        dataset = self._dataset()
        if harmful := self._harmful(dataset):
            return Verdict(CANNOT_TELL, f"the data would corrupt training: {'; '.join(harmful)}")
        seen_until = max((each.last for each in self._seen), default=0)
        split, start = split_at_newest(dataset.events, self._settings.newest, seen_until)
        queries = Queries.of(split)
        self._describe(dataset, split.test, start, queries)
        can_tell = not self._seen or len(queries.targets) >= self._settings.min_users
        if not can_tell and not self._settings.always:
            return too_few(len(queries.targets), self._settings.min_users)
        self._train(Job(dataset, split, self._candidate, cache=self._run.folder / "cache"))
        compared = self._compare(queries)
        if not can_tell:
            return Verdict(PUBLISHED, "--always, though too few users tell anything")
        if self._settings.always:
            self._run.save(margin=self._settings.margin)
            return Verdict(PUBLISHED, f"--always, whatever the comparison says{_measured(compared)}")
        lost = read_loss(self._repository / HOME, self._run.facts["serving"])
        self._run.save(margin=self._settings.margin, lost=lost)
        return judge(compared, self._settings.margin, lost)

    def _export(self) -> None:
        path = self._run.folder / "events.parquet"
        if path.is_file():
            _say("export      done before")
            return
        count = asyncio.run(export_events(self._settings.store, path, without=NO_HISTORY))
        _say(f"export      {count:,} events")

    def _dataset(self) -> Dataset:
        """The store's history, and what the described data set and the catalog that serves know of the items.

        An item that serves stays in the catalog, whether it has events or not.
        """
        exported = pl.read_parquet(self._run.folder / "events.parquet")
        events = history(exported).select(EVENTS.names()).unique(maintain_order=True)
        if events.is_empty():
            raise TrainingError("the event store has no events of what users chose: there is nothing to learn from")
        name, items, users, tags = "event-store", pl.DataFrame(schema={"id": pl.String}), None, None
        attributes = None
        if self._settings.described:
            described = load_dataset(self._settings.described)
            name, users, attributes = described.name, described.users, described.attributes
            items = described.items.drop("number")
            ids = described.items.select(item="number", id="id")
            if described.tags is not None:
                tags = described.tags.join(ids, on="item").select("user", "tags", item="id")
        if self._seen:
            catalog = read_table(latest(self._repository, "catalog") / "items.parquet", DESCRIBED)
            items = pl.concat([items, catalog.join(items, on="id", how="anti")], how="diagonal_relaxed")
            name = self._seen[0].dataset
            if not self._settings.described:
                attributes = read_attributes_of(latest(self._repository, "catalog"))
        items = with_unlisted(items, events)
        dataset = assemble(name, events, items, users, known_numbers(self._repository), tags)
        return replace(dataset, attributes=attributes)

    def _harmful(self, dataset: Dataset) -> list[str]:
        """One line for each kind of problem that forbids training."""
        if "problems" not in self._run.facts:
            lowest, highest = self._scale()
            problems = [asdict(problem) for problem in validate(dataset, lowest, highest)]
            self._run.save(problems=problems)
            _say(f"validate    {len(problems)} kinds of problems")
        problems = self._run.facts["problems"]
        return [
            f"{each['count']} × {each['name']}, such as {each['examples'][0]}" for each in problems if each["harmful"]
        ]

    def _scale(self) -> tuple[float, float]:
        """Lowest and highest rating of the catalog that serves; any rating where it has no scale."""
        path = latest(self._repository, "catalog") / "rating_scale.json" if self._seen else None
        if not path or not path.is_file():
            return float("-inf"), float("inf")
        scale = json.loads(read_text(path))
        return scale["lowest"], scale["highest"]

    def _describe(self, dataset: Dataset, newest: pl.DataFrame, start: int, queries: Queries) -> None:
        events = dataset.events
        data = {
            "events": len(events),
            "users": events["user"].n_unique(),
            "items": len(dataset.items),
            "first": events["time"].min(),
            "last": events["time"].max(),
            "fingerprint": dataset.fingerprint,
        }
        held_out = {
            "after": start,
            "events": len(newest),
            "users": newest["user"].n_unique(),
            "compared": len(queries.targets),
        }
        self._run.save(data=data, held_out=held_out)

    def _train(self, job: Job) -> None:
        done = [model for model in RECIPES if versions(self._candidate, model)]
        for model in done:
            _say(f"train       {model} done before")
        left_out = train_all(job, self._settings.recipe, Instead(), done).left_out
        if self._seen:
            self._carry_on()
        self._run.save(left_out=left_out, candidate=[asdict(each) for each in seen(self._candidate)])

    def _carry_on(self) -> None:
        if not (versions(self._repository, "fusion") and versions(self._candidate, "fusion")):
            return
        carried = carry_on(latest(self._repository, "fusion"), self._candidate)
        said = self._run.facts.get("carried", []) + carried.over
        self._run.save(carried=said, replaced=carried.replaced)
        if said:
            _say(f"policies    carried on, fitted on logged outcomes: {', '.join(said)}")
        if carried.replaced:
            _say(f"policies    not carried on, for training made others: {', '.join(carried.replaced)}")

    def _compare(self, queries: Queries) -> Compared | None:
        """Of the fused lists; None where there is nobody to compare on."""
        if queries.targets.is_empty():
            return None
        new = queries.ndcg(self._candidate, self._settings.policies)
        serving = queries.ndcg(self._repository, self._settings.policies) if self._seen else {}
        compared = compare(new, serving)
        self._run.save(policies=self._compared_policies())
        self._run.save(compared=[asdict(each) for each in compared])
        return next(each for each in compared if each.ranker == FUSED)

    def _compared_policies(self) -> str:
        if path := self._settings.policies:
            return f"{read_policy(path)[0]} of {path} on both sides"
        sides = [default_policy(self._candidate)[0]]
        sides += [default_policy(self._repository)[0]] if self._seen else []
        named = " against ".join(sides)
        return f"{named}, the published default; a gateway with a file of policies serves others: give it by --policies"

    def _publish(self) -> None:
        """A model whose content is the newest version already, as after a kill in the midst of this, is left alone."""
        taken: dict[str, int] = {}
        for model in (model for model in RECIPES if versions(self._candidate, model)):
            folder = latest(self._candidate, model)
            if not versions(self._repository, model) or _hashes(latest(self._repository, model)) != _hashes(folder):
                published = republish(folder, self._repository)
                _say(f"publish     {published}")
            taken[model] = int(latest(self._repository, model).name)
        self._run.save(published=taken)

    def _note_loss(self) -> None:
        """After --always there is none: a person has chosen what serves."""
        facts, lost = self._run.facts, 0.0
        for each in facts.get("compared", []):
            if each["ranker"] == FUSED and each["difference"] is not None and "lost" in facts:
                lost = max(0.0, facts["lost"] - each["difference"] / each["serving"])
        serving = {each.model: each.version for each in seen(self._repository)}
        note_loss(self._repository / HOME, serving, lost)


def judge(compared: Compared | None, margin: float, lost: float = 0.0) -> Verdict:
    """By non-inferiority: published where the interval excludes a loss of more than `margin` of what serves, of which
    the versions before have `lost` a part, and does not lie below 0.
    """
    if compared is None or compared.low is None or compared.high is None or compared.serving is None:
        return Verdict(PUBLISHED, "nothing was serving")
    left = max(margin - lost, 0.0)
    measured, accepted = _measured(compared), left * compared.serving
    already = f", {lost:.1%} of which the versions before have lost" if lost else ""
    if compared.high < 0:
        return Verdict(WORSE, f"it is worse than what serves{measured}")
    if compared.low >= 0:
        return Verdict(PUBLISHED, f"it is not worse than what serves{measured}")
    if compared.low >= -accepted:
        tied = f"nothing tells whether it is worse, and if, then within the margin of {margin:.0%}"
        return Verdict(PUBLISHED, f"{tied}{already}{measured}")
    return Verdict(
        CANNOT_TELL,
        f"it may be worse than what serves by more than {accepted:.4f}, the margin of {margin:.0%}{already}{measured}. "
        "Wait for more events, raise --margin, or publish by --always",
    )


def _measured(compared: Compared | None) -> str:
    if compared is None or compared.difference is None:
        return ""
    return f": {compared.difference:+.4f} ({compared.low:+.4f} to {compared.high:+.4f}) NDCG@10"


def too_few(users: int, min_users: int) -> Verdict:
    """Decided before the training, which would take its time for nothing."""
    return Verdict(
        CANNOT_TELL,
        f"{users} users chose something new after the events that the serving versions have seen, of at least "
        f"{min_users}: wait for more events, lower --min-users, or publish without a comparison by --always",
    )


def _hashes(folder: Path) -> Mapping[str, str]:
    return {file.path: file.sha256 for file in read_manifest(folder).files}


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _say(line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
