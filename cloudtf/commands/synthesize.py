"""Make a synthetic set of cloud photographs in the format of Kaggle's cloud competition.

The pictures are drawn: ocean and clouds in which Sugar, Gravel, Flower and Fish differ as in
nature. They serve to try everything out, not to judge a model for real photographs. The folder gets
train_images, train.csv, test_images, sample_submission.csv (with made-up masks, some of them false)
and test_labels.csv (the truth about the test images).
"""

from __future__ import annotations

from cloudtf.synthetic.synthesize import SynthesizeConfig, synthesize

CONFIG = SynthesizeConfig


def run(config: SynthesizeConfig) -> None:
    """Makes the set."""
    synthesize(config)
