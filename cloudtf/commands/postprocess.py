"""Empty the masks of a submission that the classifier disbelieves.

A mask is emptied where the image's probability of that class is under the class's threshold: that
for recall, or another by --present_at. Everything is paired by image name, and a mismatch is
refused.
"""

from __future__ import annotations

from cloudtf.submission.postprocess import PostprocessConfig, postprocess

CONFIG = PostprocessConfig


def run(config: PostprocessConfig) -> None:
    """Cleans the submission and prints what was removed."""
    postprocess(config)
