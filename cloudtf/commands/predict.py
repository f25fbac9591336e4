"""Write the probabilities of every class for records, a folder of images or one image."""

from __future__ import annotations

from cloudtf.evaluation.predict import PredictConfig, predict

CONFIG = PredictConfig


def run(config: PredictConfig) -> None:
    """Predicts and says how many."""
    count = predict(config)
    print(f"{count} images predicted: {config.output}")
