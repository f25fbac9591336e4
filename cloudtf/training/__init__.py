"""The training run: strategies, callbacks, checkpoints and the loop."""
