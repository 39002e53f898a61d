"""What the gateway has recorded is training data."""

from pathlib import Path

from fusion_gateway.events.exporting import export_events
from fusion_gateway.events.files import read_events
from fusion_gateway.events.store import EventStore
from fusion_gateway.events.stored_event import StoredEvent
from training.artifacts.repository import verify
from training.data.load import load_dataset
from training.data.splits import leave_last_out
from training.data.synthetic.generate import Settings, generate
from training.pipelines.job import Job
from training.pipelines.rating import train_rating
from training.recipes.rating import SvdRecipe


async def test_a_model_can_be_trained_on_the_event_store(tmp_path: Path) -> None:
    generate(tmp_path / "generated", Settings(users=40, items=30))
    known = list(read_events(next((tmp_path / "generated").glob("events.*"))))
    url = f"sqlite:///{tmp_path}/events.db"
    store = EventStore(url, history_limit=1000)
    await store.open()
    await store.import_all(known)
    items = sorted({event.item_id for event in known})
    await store.record([StoredEvent("newcomer", item, 4, time) for time, item in enumerate(items[:12])])
    assert await export_events(url, tmp_path / "exported" / "events.parquet") == len(known) + 12
    await store.close()

    dataset = load_dataset(tmp_path / "exported")
    job = Job(dataset, leave_last_out(dataset.events), tmp_path / "repository", tmp_path / "cache")
    assert (
        verify(
            train_rating(job, SvdRecipe(factors=(4,), epochs=(2,), min_user_ratings=1, max_ignored_item_ratings=1))
        ).model
        == "rating"
    )
    assert "newcomer" in set(dataset.events["user"])
