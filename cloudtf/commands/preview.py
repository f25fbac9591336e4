"""Draw originals beside their augmented versions, with labels."""

from __future__ import annotations

from cloudtf.evaluation.preview import PreviewConfig, preview

CONFIG = PreviewConfig


def run(config: PreviewConfig) -> None:
    """Draws and names the picture."""
    preview(config)
    print(f"Open {config.output}")
