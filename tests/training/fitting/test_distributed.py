"""Two processes that train one model, as torchrun starts them."""

import subprocess
import sys
from pathlib import Path

from training.artifacts.repository import latest, read_manifest, versions
from training.artifacts.scorer_files import OfflineScorer

TRAIN = ("-m", "training", "train", "sequential", "--recipe", "small")


def test_two_processes_train_and_publish_one_model(tmp_path: Path) -> None:
    folder, repository = tmp_path / "circle", tmp_path / "repository"
    folder.mkdir()
    lines = [f"u{user},i{(user + step) % 12},{step},3" for user in range(40) for step in range(10)]
    (folder / "events.csv").write_text("user,item,time,rating\n" + "\n".join(lines) + "\n")
    where = ("--data", str(folder), "--repository", str(repository))
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2")
    port = ("--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0")
    environment = {"PATH": "", "OMP_NUM_THREADS": "1", "MARQUEE_HOME": str(tmp_path)}
    subprocess.run([*torchrun, *port, *TRAIN, *where], env=environment, check=True, timeout=200)
    assert versions(repository, "sequential") == [1]
    found = latest(repository, "sequential")
    assert {metric.name: metric.value for metric in read_manifest(found).metrics}["ndcg@10"] > 0.9
    assert len(OfflineScorer(found).item_number) == 12
