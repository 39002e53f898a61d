"""The benchmark of maps from content: what is left out of them, and what a slot finds and costs."""

import numpy as np
import pytest

from fusion_gateway.fusion import Slot
from training.benchmark import cold_maps, cold_slot
from training.benchmark.cold_items import ColdItems
from training.benchmark.runner import Runner
from training.data.load import load_dataset
from training.data.synthetic.generate import Settings, generate
from training.errors import TrainingError


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    home = tmp_path_factory.mktemp("cold")
    generate(home / "generated", Settings(users=40, items=60, events_per_user=15))
    return Runner(load_dataset(home / "generated"), home / "work")


@pytest.mark.parametrize("model", ["linear", "visual_temporal=small"])
def test_maps_and_their_fusion_are_measured(runner: Runner, model: str) -> None:
    cells = runner.run(cold_maps.measurements(runner, [model], [0]))
    [of_one] = cold_maps.fused(runner, cells)
    cold = ColdItems.of(runner.dataset, 0)
    assert [known for _, known, _ in cold_maps.by_content(cells)] == [cold_maps.WHOLE, *cold_maps.LEFT_OUT]
    np.testing.assert_array_equal(cells[0].arrays[cold_maps.WHOLE], of_one.arrays[cold_maps.WHOLE])
    assert np.isfinite(cells[0].arrays["hidden"][:, cold.hidden]).any(axis=0).all()  # every hidden item has a vector
    assert cold_maps.as_table(cells, "generated").row_count == 3
    rows = list(cold_maps.rows(cells, "generated"))
    [plain] = [row for row in rows if row["known"] == cold_maps.PLAIN and "all" in str(row["protocol"])][1:2]
    assert (plain["metric"], plain["value"]) == ("hr@10-more", 0)
    slot = list(cold_slot.rows(runner, [of_one], "generated"))
    assert len(slot) == 12
    assert cold_slot.as_table(slot, "generated").row_count == 4


def test_a_slot_trades_the_last_rank_for_a_new_item() -> None:
    scores = np.tile(np.arange(30.0, 0, -1), (3, 1))  # item 0 is best, and 20 to 29 are new
    is_new = np.arange(30) >= 20
    scores[1:, 29] = 20.0  # surest of 29, which row 0 is not
    target = np.array([9, 9, 29])
    metrics = cold_slot.both(scores, target, is_new, Slot(2.0))
    assert metrics[:, 0].tolist() == [[1, 1, 0], [1, 0, 1]]
    np.testing.assert_allclose(metrics[1, 1], [1 / np.log2(11), 0, 1 / np.log2(11)])


def test_a_model_that_there_is_not(runner: Runner) -> None:
    with pytest.raises(TrainingError, match="no model 'popularity' here; there are rating, sequential"):
        cold_maps.measurements(runner, ["popularity"], [0])
