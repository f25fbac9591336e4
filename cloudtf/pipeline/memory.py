"""How much memory a data set may take: the choice of what to keep decoded, encoded or on disk."""

from __future__ import annotations

from cloudtf.data import records

CACHES = ("auto", "none", "encoded", "decoded")
WORDS = {
    "none": "read from disk each epoch",
    "encoded": "kept in memory as JPEG",
    "decoded": "kept in memory as pixels",
}

# Share of the memory free at the start that cached data may take; the rest is for the model, its
# gradients and the batches under way.
SHARE = 0.4


def choose_cache(
    wanted: str, split: records.Split, image_bytes: int, budget: int
) -> tuple[str, int]:
    """Decides what to keep of one split.

    Args:
      wanted: `auto` or the choice itself.
      split: the split.
      image_bytes: of one decoded image.
      budget: bytes that may be taken.

    Returns:
      `none`, `encoded` or `decoded`, and the bytes that it takes.
    """
    costs = {
        "decoded": split.num_examples * image_bytes,
        "encoded": sum(shard.num_bytes for shard in split.shards),
        "none": 0,
    }
    if wanted != "auto":
        return wanted, costs[wanted]
    choice = next(name for name, cost in costs.items() if cost <= budget)
    return choice, costs[choice]
