"""The training loop, its checkpoints, and several processes that train one model."""
