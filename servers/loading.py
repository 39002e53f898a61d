"""From a published version to a scorer that has proved itself. Blocking; meant for a thread of its own."""

import numpy as np

from servers import golden
from servers.device import Device
from servers.runtime.errors import ArtifactError, ConfigurationError
from servers.runtime.repository import Version
from servers.scorer import LoadedScorer
from servers.signature import EMBED, Limits

WARM_ROWS = (1, 8)
"""Numbers of users in the batches that warm a scorer,"""
WARM_EVENTS = (1, 50)
"""and numbers of events in their histories."""
NO_LIMITS = Limits(B=max(WARM_ROWS), L=0, C=0, K=0)


def load(version: Version, threads: int, device: Device = "cpu", shared: bool = False) -> LoadedScorer:
    """A warm scorer that reproduces the golden samples; its memory is `shared` as LoadedScorer says.

    Raises ArtifactError for whatever is wrong with the version.
    """
    name = f"{version.model}/{version.number}"
    if not version.manifest.HasField("scorer"):
        raise ArtifactError(f"{name}: the manifest describes no scorer", "manifest")
    try:
        scorer = LoadedScorer(version, threads, device, shared)
        golden.check(scorer, version)
        _warm(scorer)
    except (ArtifactError, ConfigurationError):
        raise
    except Exception as error:  # ONNX Runtime, FAISS, safetensors and numpy each raise their own
        raise ArtifactError(f"{name}: its files cannot be loaded", "malformed") from error
    return scorer


def _warm(scorer: LoadedScorer) -> None:
    """Runs all that a first caller would otherwise wait for."""
    for rows in WARM_ROWS:
        k_B1 = np.full((rows, 1), 10, np.int32)
        for events in WARM_EVENTS:
            item_BL = np.resize(scorer.item_numbers, (rows, events))
            user = {
                "user_id": np.full((rows, 1), b"", object),
                "history_item": item_BL,
                "history_rating": np.full((rows, events), np.nan, np.float32),
                "history_time": np.zeros((rows, events), np.int64),
                "query_time": np.zeros((rows, 1), np.int64),
            }
            scorer.score({**user, "candidate": item_BL})
            for allowed_BA in (np.zeros((rows, 1), np.int64), item_BL):
                scorer.retrieve({**user, "k": k_B1, "allowed": allowed_BA})
        scorer.similar({"item": item_BL[:, :1], "k": k_B1})
        if scorer.encoder:
            scorer.encoder.embed(EMBED.complete({"image": np.full((rows, 1), b"", object)}, NO_LIMITS))
        if scorer.genres:
            scorer.genres(user)
