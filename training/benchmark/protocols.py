"""How ratings are held out for test: the protocols of the papers, and one that is closest to serving."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from training.data.dataset import Dataset
from training.data.splits import Split, canonical_fold, last_share, last_users, random_folds, random_split
from training.errors import TrainingError

FOLDS = "u1..u5"
LAST_SHARE = re.compile(r"last-(\d\d)%")
RANDOM = re.compile(r"(\d\d)/(\d\d)")
RANDOM_FOLDS = re.compile(r"([2-9]|1\d|20)-folds")
UNSEEN_USERS = re.compile(r"unseen-users-(\d\d)%")
KNOWN = "u1 to u5, u1..u5, 90/10 (or another random split), 5-folds (or another number), last-20%, and unseen-users-20%"


def splits(protocol: str, folder: Path, dataset: Dataset, seed: int) -> Iterator[Split]:
    """The parts to train on and to test on, one pair a fold; random ones by `seed`. Raises TrainingError."""
    if protocol == FOLDS:
        yield from (canonical_fold(folder, fold) for fold in range(1, 6))
    elif re.fullmatch(r"u[1-5]", protocol):
        yield canonical_fold(folder, int(protocol[1]))
    elif (found := RANDOM.fullmatch(protocol)) and int(found[1]) + int(found[2]) == 100:
        yield replace(random_split(dataset.events, int(found[2]) / 100, seed), name=protocol)
    elif found := LAST_SHARE.fullmatch(protocol):
        yield replace(last_share(dataset.events, int(found[1]) / 100), name=protocol)
    elif found := RANDOM_FOLDS.fullmatch(protocol):
        yield from (replace(split, name=protocol) for split in random_folds(dataset.events, int(found[1]), seed))
    elif found := UNSEEN_USERS.fullmatch(protocol):
        yield replace(last_users(dataset.events, int(found[1]) / 100), name=protocol)
    else:
        raise TrainingError(f"no split '{protocol}' here; there are {KNOWN}")
