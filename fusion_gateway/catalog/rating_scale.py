"""The published scale of the data's ratings."""

import json
import math
from dataclasses import dataclass

import numpy as np

from servers.runtime.errors import ArtifactError
from servers.runtime.files import read_regular
from servers.runtime.repository import Version

FILE = "rating_scale.json"
MAX_BYTES = 4096


@dataclass(frozen=True)
class RatingScale:
    """Ratings lie from `lowest` to `highest`, as single precision has the two."""

    lowest: float
    highest: float
    step: float
    """Between two neighboring ratings; 0 where any value is one."""

    def __contains__(self, rating: float) -> bool:
        """Values between two steps count: models read them as they are."""
        return self.lowest <= rating <= self.highest

    def __str__(self) -> str:
        return f"{self.lowest:g} to {self.highest:g}" + (f" in steps of {self.step:g}" if self.step else "")


def load_rating_scale(catalog: Version) -> RatingScale | None:
    """None where the version has none. Raises ArtifactError when it is not what it should be."""
    if all(file.path != FILE for file in catalog.manifest.files):
        return None
    path = catalog.file(FILE)
    try:
        stored = json.loads(read_regular(path, MAX_BYTES))
        # Ratings are in single precision on the wire.
        lowest, highest, step = (float(np.float32(stored[name])) for name in ("lowest", "highest", "step"))
    except Exception as error:  # JSON can hold anything in their places
        raise ArtifactError(f"{path}: not a scale of ratings: {error}", "rating_scale") from error
    if not (-math.inf < lowest < highest < math.inf and 0 <= step < math.inf):
        raise ArtifactError(f"{path}: lowest must be below highest, and step 0 or more", "rating_scale")
    return RatingScale(lowest, highest, step)
