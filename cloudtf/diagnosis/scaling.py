"""What feeds many accelerators: cores, network, storage and shards, from `cloudtf bench`'s JSON.

Everything here is arithmetic on measured costs and stated assumptions; docs/SCALING.md explains it.
Units are in the names: bytes and bits a second, milliseconds of one core an image.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Iterator, Optional

from cloudtf import files
from cloudtf.data.shards import MAX_SHARD_BYTES, READERS, USUAL_SHARDS
from cloudtf.errors import UserError, reason
from cloudtf.pipeline import cache
from cloudtf.settings import REQUIRED, Settings, setting
from cloudtf.text import number, table

# More objects than these make opening a remote set slow; larger shards are read as well.
_MANY_SHARDS = 10_000
_LARGEST_SHARD_BYTES = 1_000_000_000
# An entry of dataset.json.
_MANIFEST_BYTES_A_SHARD = 485
# For its length, its first record and its last one.
_REQUESTS_A_SHARD = 3

COUNTS = (1, 8, 64, 256)
# Images of a set, and accelerators that train on it.
SETS = ((10_000, 1), (10_000, 8), (1_000_000, 8), (1_000_000, 64), (10**9, 64), (10**9, 256))


@dataclasses.dataclass(frozen=True)
class ScalingConfig(Settings):
    """What is measured (`bench`) and what is assumed; the defaults are a Cloud TPU v5e."""

    bench: str = setting(REQUIRED, "JSON written by `cloudtf bench --json`.")
    images_per_second: Optional[float] = setting(
        None,
        "Training speed of one accelerator. Default: peak x utilisation / operations an image.",
        minimum=0.001,
    )
    peak_tflops: float = setting(197.0, "Peak of one accelerator (v5e, bfloat16).", minimum=0.001)
    utilisation: float = setting(
        0.1,
        "Share of the peak that training reaches; an assumption: depthwise convolutions wait for "
        "memory.",
        minimum=0.0001,
        maximum=1,
    )
    gflops_an_image: float = setting(
        4.0, "Operations of one training image: three forward passes of B2 at 224.", minimum=0.001
    )
    parameters: int = setting(
        7_774_198, "Parameters of the network (B2 with 4 classes).", minimum=1
    )
    accelerators_a_host: int = setting(8, "Accelerators of one host.", minimum=1)
    cores_a_host: int = setting(224, "Cores (hyperthreads) of one host.", minimum=1)
    core_share: float = setting(
        0.75, "Share of the cores that the input may take.", minimum=0.01, maximum=1
    )
    memory_gb_a_host: float = setting(512.0, "Memory of one host.", minimum=1)
    network_gbits_a_host: float = setting(200.0, "Network of one host.", minimum=0.001)
    storage_gbits: float = setting(
        200.0, "What the storage gives to all hosts together.", minimum=0.001
    )
    link_gbits: float = setting(
        64.0, "From host memory to one accelerator (8 GB/s, an assumption).", minimum=0.001
    )
    interconnect_gbits: float = setting(
        1600.0, "Between accelerators, for each (v5e's interconnect).", minimum=0.001
    )
    batch_an_accelerator: int = setting(128, "Images a step on one accelerator.", minimum=1)
    augment_on: str = setting("device", "Where images are augmented.", choices=("host", "device"))
    stat_ms: float = setting(
        50.0, "Time in which the storage answers a request about one shard.", minimum=0
    )


@dataclasses.dataclass(frozen=True)
class Measured:
    """The measured costs of an image, from the JSON of `cloudtf bench`.

    Attributes:
      read_ms: milliseconds of one core to read and parse a record.
      decode_ms: milliseconds of one core to decode a JPEG.
      augment_ms: milliseconds of one core to augment an image on the host.
      record_bytes: mean length of a record in its shard.
      image_bytes: bytes of one decoded image, rows x columns x 3.
      conversion_ms: milliseconds of one core to convert a photograph; None if not measured.
      photograph_bytes: mean length of a photograph's file; None if not measured.
    """

    read_ms: float
    decode_ms: float
    augment_ms: float
    record_bytes: float
    image_bytes: int
    conversion_ms: Optional[float] = None
    photograph_bytes: Optional[float] = None


@dataclasses.dataclass(frozen=True)
class Need:
    """One resource for some accelerators.

    Attributes:
      name: the resource's name in the table.
      unit: the unit of `needed` and `available`, such as `Gbit/s`.
      needed: the amount with which no accelerator waits.
      available: the amount that the hosts, or the storage, have.
    """

    name: str
    unit: str
    needed: float
    available: float

    @property
    def load(self) -> float:
        """Needed over available; over 1, accelerators wait for this resource."""
        return self.needed / self.available


def measured(path: str) -> Measured:
    """Reads the JSON of `cloudtf bench`.

    Raises:
      UserError: it is missing or is another JSON.
    """
    raw = files.read_json(path)
    try:
        data, costs, conversion = raw["data"], raw["costs_ms"], raw["conversion"] or {}
        return Measured(
            read_ms=float(costs["read"]),
            decode_ms=float(costs["decode"]),
            augment_ms=float(costs["augment"]),
            record_bytes=float(data["record_bytes"]),
            image_bytes=int(data["image_height"]) * int(data["image_width"]) * 3,
            conversion_ms=conversion.get("cpu_ms"),
            photograph_bytes=conversion.get("photograph_bytes"),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} is not what `cloudtf bench --json` writes ({type(error).__name__}: "
            f"{reason(error)}); run it again."
        ) from error


def accelerator_speed(config: ScalingConfig) -> float:
    """Images a second of one accelerator: given, or peak x utilisation / operations an image."""
    if config.images_per_second is not None:
        return config.images_per_second
    return config.peak_tflops * 1e12 * config.utilisation / (config.gflops_an_image * 1e9)


def core_ms(config: ScalingConfig, costs: Measured) -> float:
    """Milliseconds of one core that an image costs its host."""
    augment = costs.augment_ms if config.augment_on == "host" else 0.0
    return costs.read_ms + costs.decode_ms + augment


def needs(config: ScalingConfig, costs: Measured, accelerators: int) -> list[Need]:
    """What so many accelerators need for streaming each image each epoch, and what there is.

    With R = accelerators x images/s of each, and c = milliseconds of a core an image:

    - cores: R c / 1000, of core_share x cores of the hosts;
    - network of the hosts and storage: R x bytes of a record;
    - link to the accelerators: R x bytes of an image;
    - interconnect, each accelerator: 2 (n - 1) / n x 4 bytes x parameters x steps/s, what a ring
      all-reduce of float32 gradients sends (Patarasuk and Yuan, 2009).

    A part of a host counts as that part of its cores and network.
    """
    speed = accelerator_speed(config)
    rate = accelerators * speed
    hosts = accelerators / config.accelerators_a_host
    record_gbits = rate * costs.record_bytes * 8 / 1e9
    sent = 2 * (accelerators - 1) / accelerators * 4 * config.parameters
    steps = speed / config.batch_an_accelerator
    return [
        Need(
            "cores",
            "cores",
            rate * core_ms(config, costs) / 1000,
            hosts * config.cores_a_host * config.core_share,
        ),
        Need("hosts' network", "Gbit/s", record_gbits, hosts * config.network_gbits_a_host),
        Need("storage", "Gbit/s", record_gbits, config.storage_gbits),
        Need(
            "link to devices",
            "Gbit/s",
            rate * costs.image_bytes * 8 / 1e9,
            accelerators * config.link_gbits,
        ),
        Need(
            "interconnect, each",
            "Gbit/s",
            sent * steps * 8 / 1e9,
            config.interconnect_gbits,
        ),
    ]


def binding(resources: list[Need]) -> Need:
    """The resource with the highest load."""
    return max(resources, key=lambda need: need.load)


@dataclasses.dataclass(frozen=True)
class ShardAdvice:
    """How to shard a set.

    Attributes:
      count: the number of shards.
      bytes_each: the length of each shard.
      manifest_bytes: the approximate length of dataset.json.
      open_seconds: the time to ask a remote storage about each shard, 32 at once, when a run
        starts.
    """

    count: int
    bytes_each: float
    manifest_bytes: int
    open_seconds: float


def shard_advice(
    config: ScalingConfig, costs: Measured, images: int, accelerators: int
) -> ShardAdvice:
    """Shards for a set that so many accelerators stream.

    As many as keep a shard at 100 MB; from ten thousand shards on larger ones, up to 1 GB. At least
    16 for each host, which reads so many at once (8 for a single host, as the converter makes), and
    as many on each host, but at least 8 examples in each.
    """
    hosts = math.ceil(accelerators / config.accelerators_a_host)
    total = images * costs.record_bytes
    target = min(max(total / _MANY_SHARDS, MAX_SHARD_BYTES), _LARGEST_SHARD_BYTES)
    least = USUAL_SHARDS if hosts == 1 else READERS * hosts
    count = max(math.ceil(total / target), least)
    count = math.ceil(count / hosts) * hosts
    count = max(1, min(count, images // USUAL_SHARDS))
    return ShardAdvice(
        count=count,
        bytes_each=total / count,
        manifest_bytes=count * _MANIFEST_BYTES_A_SHARD,
        open_seconds=math.ceil(count / 32) * _REQUESTS_A_SHARD * config.stat_ms / 1000,
    )


def cache_fits(config: ScalingConfig, costs: Measured, images: int) -> str:
    """The best `cache` that fits into the memory of one host, whole."""
    room = cache.room_for(config.memory_gb_a_host * 1e9)
    return next(iter(cache.fitting(images, images * costs.record_bytes, costs.image_bytes, room)))


def report(config: ScalingConfig) -> Iterator[str]:
    """The plan as Markdown."""
    costs = measured(config.bench)
    speed = accelerator_speed(config)
    yield (
        f"An accelerator trains {number(speed)} images/s. An image costs its host "
        f"{core_ms(config, costs):.3f} ms of one core (augmentation on the {config.augment_on}); "
        f"its record has {costs.record_bytes / 1000:.1f} KB, its pixels "
        f"{costs.image_bytes / 1000:.0f} KB."
    )
    yield ""
    columns = [needs(config, costs, count) for count in COUNTS]
    rows: list[tuple[Any, ...]] = [
        ("images/s", *(number(count * speed) for count in COUNTS)),
        ("hosts", *(number(count / config.accelerators_a_host) for count in COUNTS)),
    ]
    for same in zip(*columns):
        cells = [f"{number(n.needed)} of {number(n.available)}" for n in same]
        unit = "" if same[0].unit == same[0].name else f", {same[0].unit}"
        rows.append((f"{same[0].name}{unit}", *cells))
    rows.append(("binds", *(_binds(binding(column)) for column in columns)))
    yield table(("accelerators", *(f"{count:,}" for count in COUNTS)), rows)
    yield ""
    sets = []
    for images, count in SETS:
        advice = shard_advice(config, costs, images, count)
        sets.append(
            (
                f"{images:,} on {count}",
                f"{images * costs.record_bytes / 1e9:,.1f}",
                f"{advice.count:,}",
                f"{advice.bytes_each / 1e6:,.1f}",
                _seconds(advice.open_seconds),
                cache_fits(config, costs, images),
                _seconds(images / (count * speed)),
            )
        )
    header = ("images, accelerators", "GB", "shards", "MB each", "to open", "cache", "an epoch")
    yield table(header, sets)
    if costs.conversion_ms and costs.photograph_bytes:
        yield ""
        yield table(
            ("conversion of", "core hours", "GB of photographs"),
            (
                (
                    f"{images:,}",
                    number(images * costs.conversion_ms / 3.6e6),
                    number(images * costs.photograph_bytes / 1e9),
                )
                for images in sorted({images for images, _ in SETS})
            ),
        )


def _binds(need: Need) -> str:
    if need.load > 1:
        return f"**{need.name}**, {need.load:.2g} times too little"
    return f"accelerators ({need.name} at {100 * need.load:.0f}%)"


def _seconds(value: float) -> str:
    for limit, unit, size in ((120, "s", 1), (7200, "min", 60), (math.inf, "h", 3600)):
        if value < limit:
            return f"{number(value / size)} {unit}"
    return ""
