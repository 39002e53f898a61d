"""Scorers of a model repository as models of NVIDIA Triton's Python backend; triton_model.py is what runs there.

<out>/<model>/config.pbtxt
<out>/<model>/<version>/model.py
<out>/<model>/<version>/artifact/      the published version, whole

Each of a scorer's models has a copy of its own: Triton fetches models one by one where the repository is remote,
and runs each in a process.
"""

import shutil
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from servers.batcher import BatchLimits
from servers.models import config_of, names_in, signatures
from servers.runtime.errors import ConfigurationError, RepositoryError
from servers.runtime.files import written_whole
from servers.runtime.repository import Repository, Version
from servers.settings import ExportSettings
from servers.signature import Signature

MODEL_PY = "from servers.triton_model import TritonPythonModel as TritonPythonModel\n"


def export(settings: ExportSettings) -> list[Version]:
    """Writes Triton's model repository, whole or not at all; what was chosen.

    Raises ConfigurationError where `out` cannot be written, RepositoryError where there is nothing to write.
    """
    out = settings.out
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ConfigurationError(f"--out {out} is there and not empty; name another folder, or remove it first")
    versions = _choose(settings)
    # Written beside `out` and renamed, so that Triton never sees half of it.
    try:
        with written_whole(out.resolve()) as partial:
            for version in versions:
                signature_of = signatures(version.model)
                for model in names_in(version):
                    _write(partial / model, model, signature_of[model], version, settings)
    except OSError as error:
        raise ConfigurationError(f"--out {out} cannot be written: {error}") from None
    return versions


def _choose(settings: ExportSettings) -> list[Version]:
    repository = Repository(settings.model_repository)
    if settings.name and settings.version:
        chosen = [repository.open(settings.name, settings.version)]
    else:
        chosen = [repository.latest(name) for name in ([settings.name] if settings.name else repository.models())]
    scorers = [version for version in chosen if version.manifest.HasField("scorer")]
    if not scorers:
        raise RepositoryError(
            f"model repository {settings.model_repository} has no scorer to export; publish one first"
        )
    return scorers


def _write(folder: Path, model: str, signature: Signature, version: Version, settings: ExportSettings) -> None:
    numbered = folder / str(version.number)
    shutil.copytree(version.folder, numbered / "artifact")
    (numbered / "model.py").write_text(MODEL_PY)
    config = text_format.MessageToString(config_for_triton(model, signature, version.model, settings))
    (folder / "config.pbtxt").write_text(config)


def config_for_triton(model: str, signature: Signature, scorer: str, settings: ExportSettings) -> Any:
    """A ModelConfig; what triton_model.py must know besides is in its parameters."""
    config = config_of(model, signature, BatchLimits(settings.max_batch_size, max_queue_size=0))
    config.backend = "python"
    if not settings.dynamic_batching:
        config.ClearField("dynamic_batching")
    config.instance_group.add(kind=model_config_pb2.ModelInstanceGroup.KIND_CPU, count=1)
    for tensor in config.input:
        tensor.allow_ragged_batch = True  # calls with other L, C or A share a batch; the scorer's code pads them
    parameters = settings.model_dump(include={"threads", "max_history", "max_candidates", "max_k", "max_allowed"})
    for name, value in {"scorer": scorer, **parameters}.items():
        config.parameters[name].string_value = str(value)
    return config
