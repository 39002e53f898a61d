"""The state from which a stopped training run resumes."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from servers.runtime.files import written_whole
from training.progress import console

State = dict[str, Any]


class Checkpoint:
    """A file with the state of a run and of torch's random numbers, written whole or not at all."""

    def __init__(self, path: Path, seconds: float) -> None:
        """Written at most every so many `seconds`."""
        self._path, self._seconds, self._written = path, seconds, time.monotonic()

    def restore(self, device: torch.device) -> State | None:
        """The state last saved, its random numbers set; None for a fresh run. A file that is not whole is left out."""
        if not self._path.is_file():
            return None
        try:
            saved = torch.load(self._path, map_location=device, weights_only=True)
        except (EOFError, OSError, RuntimeError, ValueError, UnpicklingError) as error:
            reason = str(error).partition(". ")[0].partition("\n")[0] or "the file is empty"
            warning = f"training starts anew: the checkpoint {self._path} cannot be read: {reason}"
            console.print(warning, style="yellow", markup=False, highlight=False, soft_wrap=True)
            return None
        torch.set_rng_state(saved["random"].cpu())
        if device.type == "cuda":
            torch.cuda.set_rng_state(saved["random_cuda"].cpu(), device)
        console.print(f"resuming a stopped run: {self._path}", markup=False, soft_wrap=True)
        state: State = saved["state"]
        return state

    def delete(self) -> None:
        """After publishing: there is nothing left to resume."""
        self._path.unlink(missing_ok=True)

    def save(self, state: Callable[[], State]) -> None:
        """Writes the state when it is time."""
        if time.monotonic() - self._written < self._seconds:
            return
        saved = {"state": state(), "random": torch.get_rng_state()}
        if torch.cuda.is_available():
            saved["random_cuda"] = torch.cuda.get_rng_state()
        with written_whole(self._path) as partial, partial.open("wb") as file:
            torch.save(saved, file)
            os.fsync(file.fileno())  # a rename may reach the disk before what was written
        self._written = time.monotonic()
