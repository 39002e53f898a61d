"""A whole model repository and its events, small enough to publish in a test."""

from pathlib import Path

from tests.fusion_gateway import world
from tests.fusion_gateway.world import MOVIES
from tests.servers import tiny_artifact
from training.recipes import SCORERS

POLICIES = f"default: all\npolicies: {{all: {{normalizer: none, weights: {dict.fromkeys(SCORERS, 1)}}}}}"
USERS = 7


def publish(repository: Path) -> Path:
    """A catalogue, its policies and scorers of its items; returns `repository`."""
    world.publish_world(repository)
    world.publish(repository, "fusion", {"policies.yaml": POLICIES.encode()}, version=2)
    for scale, model in enumerate(SCORERS, 1):
        tiny_artifact.publish(repository, model, item_numbers=range(1, 1 + len(MOVIES)), scale=scale)
    return repository


def write_events(folder: Path) -> Path:
    """`events.csv`: user n has seen the first n + 1 movies, and has not rated the second."""
    rows = [
        f"user {user},{movie[0]},{'' if position == 1 else 4},{1000 + position}"
        for user in range(USERS)
        for position, movie in enumerate(MOVIES[: user + 1])
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "events.csv").write_text("\n".join(["user,item,rating,time", *rows]))
    return folder
