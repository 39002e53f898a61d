from torch import nn

from training.fitting.outline import outline


def test_a_network_is_drawn_with_its_sizes_and_parameters() -> None:
    hidden = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.6))
    network = nn.Sequential(nn.Embedding(10, 4), hidden, nn.ReLU())
    lines = [line.split() for line in outline(network).splitlines()]
    assert lines == [
        ["Sequential", "55"],
        ["├─", "0:", "Embedding(10,", "4)", "40"],
        ["├─", "1", "15"],
        ["│", "├─", "0:", "Linear(in_features=4,", "out_features=3,", "bias=True)", "15"],
        ["│", "└─", "1:", "Dropout(p=0.6,", "inplace=False)", "0"],
        ["└─", "2:", "ReLU", "0"],
    ]
