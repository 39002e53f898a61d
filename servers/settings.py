"""Settings of a model server."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import CliPositionalArg, SettingsConfigDict

from servers.runtime.cpus import default_threads
from servers.runtime.settings import DAY, ProgramSettings, ServingSettings


class ModelSettings(ProgramSettings):
    """Which models, and the limits of a request, whoever serves them."""

    panel = "Models and their limits"

    model_repository: str = Field(description="Directory or fsspec URL that holds <name>/<version>/.")
    max_batch_size: int = Field(
        32, ge=1, le=4096, description="Maximum number of rows (users) in a request and in a batch."
    )
    max_history: int = Field(2_000, ge=1, le=100_000, description="Maximum number of events in a history.")
    max_candidates: int = Field(20_000, ge=1, le=1_000_000, description="Maximum number of candidates for one user.")
    max_allowed: int = Field(
        500_000,
        ge=1,
        le=1_000_000,
        description="Maximum number of items that retrieval for one user may be limited to.",
    )
    max_k: int = Field(1_000, ge=1, le=1_000_000, description="Maximum number of items retrieved for one user.")


class ServerSettings(ModelSettings, ServingSettings):
    """Serves one scorer of a model repository, with retrieval and similar items, over the Open Inference Protocol.

    `python -m servers export-triton` writes the scorers as models of NVIDIA Triton instead; it has a --help of its own.
    """

    panel = "Serving"
    example = "python -m servers rating --model-repository var/repository --grpc-port 8011 --metrics-port 8012"
    model_config = SettingsConfigDict(cli_prog_name="python -m servers")

    name: CliPositionalArg[str] = Field(
        description="The scorer: rating, sequential, visual_temporal, linear or any other in the model repository."
    )
    model_control_mode: Literal["none", "poll", "explicit"] = Field(
        "none", description="When versions change: never, when a newer one is published, or when a client asks."
    )
    repository_poll_secs: float = Field(15, ge=0.01, le=DAY, description="How often poll looks for versions.")
    wait_for_models: bool | None = Field(
        None, description="Start, and be not ready, though nothing can be served yet. Default: with poll."
    )
    load_timeout_secs: float = Field(
        90, gt=0, le=DAY, description="A version that is not checked and loaded within this is refused."
    )
    threads: int = Field(
        default_factory=lambda given: default_threads(workers=given.get("workers", 1)),
        ge=1,
        le=256,
        description="Threads that compute one batch. Default: 1; in a container with a CPU limit, one less than that "
        "for each worker, at most 4. More help large batches only.",
    )
    device: Literal["cpu", "cuda"] = Field("cpu", description="Where the tower and the index run; cuda needs a GPU.")
    max_queue_size: int = Field(
        512, ge=1, le=1_000_000, description="Maximum number of rows that wait for a model; more are refused at once."
    )
    default_timeout_secs: float = Field(30, gt=0, le=DAY, description="For calls without a deadline.")
    max_queue_delay_us: int = Field(0, ge=0, le=10_000_000, description="Wait this long for a batch to fill.")

    @model_validator(mode="after")
    def _clients_reach_all_that_change(self) -> Self:
        if self.workers > 1 and self.model_control_mode == "explicit":
            raise ValueError(
                "--model-control-mode explicit needs --workers 1: a load would reach one of them; use poll"
            )
        return self

    @model_validator(mode="after")
    def _what_is_waited_for_is_taken(self) -> Self:
        if self.wait_for_models and self.model_control_mode == "none":
            raise ValueError("--wait-for-models needs --model-control-mode poll or explicit")
        return self

    @model_validator(mode="after")
    def _queue_holds_a_batch(self) -> Self:
        if self.max_queue_size < self.max_batch_size:
            raise ValueError("--max-queue-size must be at least --max-batch-size")
        return self


class ExportSettings(ModelSettings):
    """Writes scorers of a model repository as models of NVIDIA Triton's Python backend, three for each scorer.

    Triton's Python needs Marquee: `pip install '.[servers]'`, or the tree on PYTHONPATH beside what that installs.
    Start Triton with OMP_NUM_THREADS and OPENBLAS_NUM_THREADS as --threads, or every model takes all cores.
    """

    panel = "Export"
    example = "python -m servers export-triton --model-repository var/repository --out var/triton"
    model_config = SettingsConfigDict(cli_prog_name="python -m servers export-triton")

    threads: int = Field(1, ge=1, le=256, description="Threads that compute one batch.")
    out: Path = Field(description="The folder for Triton's --model-repository; it must not exist, or be empty.")
    name: str | None = Field(None, description="Only this scorer. Default: all.")
    version: int | None = Field(
        None, ge=1, lt=10**18, description="This version of --name. Default: the newest that is whole."
    )
    dynamic_batching: bool = Field(
        True, description="Triton may batch calls. Turn it off for streaming clients: Triton 2.51 crashes with both."
    )

    @model_validator(mode="after")
    def _a_version_has_a_name(self) -> Self:
        if self.version is not None and self.name is None:
            raise ValueError("--version needs --name: versions of different scorers have nothing in common")
        return self
