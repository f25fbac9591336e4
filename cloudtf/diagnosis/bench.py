"""How fast each part is on this machine: a table for people, JSON for `tools/scaling.py`."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Callable, Iterator

from cloudtf import bars, files, machine, temporary
from cloudtf.data import records, sources
from cloudtf.data.convert import ConvertConfig, convert
from cloudtf.diagnosis import cases, provenance, samples, steps, timing
from cloudtf.diagnosis.config import BenchConfig
from cloudtf.errors import UserError
from cloudtf.pipeline import cache
from cloudtf.pipeline.dataset import ImageDataset
from cloudtf.reporter import report
from cloudtf.text import number
from cloudtf.training import building, hardware
from cloudtf.training.splits import split_names

# The names of the rows, in the order of the table. cloudtf's own:
HOST = "augmented on the host"
HOST_STREAMED = "augmented, streamed"
HOST_DECODED = "augmented, decoded cache"
DEVICE = "uint8 for the device"
DEVICE_STREAMED = "uint8, streamed"
DECODED = "uint8, decoded cache"
EVALUATION = "evaluation, uint8"
EVALUATION_FLOAT = "evaluation, float32"
# The limits:
DECODE_JPEG = "tf.io.decode_jpeg alone"
LIMIT = "libjpeg-turbo alone"
# Stages by themselves:
READ = "read"
DECODE = "decode"
AUGMENT = "augment"

_CONVERTED_IMAGES = 200


def bench(config: BenchConfig) -> dict[str, Any]:
    """Measures, reports the table, and writes the JSON if `config.json` names a file.

    Returns:
      What is in the JSON: `machine`, `data`, `throughput` (rows of images/s), `costs_ms`
      (milliseconds of one core an image: `read`, `decode`, `augment`), `step`, `conversion`.

    Raises:
      UserError: the data is damaged, has no such split, or the hardware is not there.
    """
    if config.json:
        files.check_output(
            config.json,
            "what `cloudtf bench` writes",
            lambda content: b'"throughput"' in content,
            setting="json",
        )
    facts = provenance.facts()
    manifest = records.read_manifest(config.data_dir)
    splits, _ = split_names(config, manifest.splits)
    records.check_shards(config.data_dir, manifest, splits)
    small, split = samples.part(manifest, splits, config.max_images)
    if not split.num_examples:
        raise UserError(f"The split {split.name!r} in {config.data_dir} has no examples.")
    if config.images_dir:
        sources.unlabelled(config.images_dir)  # Refuses a bad folder before anything is measured.
    report(provenance.describe(facts))
    # The hardware too: TensorFlow joins a cluster, or learns of a TPU, before it computes anything.
    step = _step(config, manifest) if config.step else None
    sample = samples.encoded(config.data_dir, split, len(manifest.classes), config.max_images)
    with ImageDataset(config.data_dir, small, "none").naming_damage(split.name):
        prepared = _cases(config, small, split, sample)
        total = len(prepared) * config.rounds
        with bars.bar("bench", total, "turns") as bar:
            speeds = timing.alternate(
                prepared, config.rounds, config.seconds, lambda: bar.update(1)
            )
    result: dict[str, Any] = {
        "machine": facts,
        "data": {
            "split": split.name,
            "images": split.num_examples,
            "image_height": manifest.image_height,
            "image_width": manifest.image_width,
            "record_bytes": sum(s.num_bytes for s in split.shards) / split.num_examples,
            "jpeg_bytes": sum(map(len, sample)) / len(sample),
            "batch_size": config.batch_size,
        },
        "throughput": {name: dataclasses.asdict(speed) for name, speed in speeds.items()},
        "costs_ms": {name: speeds[name].cpu_ms for name in (READ, DECODE, AUGMENT)},
        "step": step,
        "conversion": _conversion(config, manifest) if config.images_dir else None,
    }
    report("\n".join(lines(result)))
    if config.json:
        files.write_json(config.json, result)
    return result


def lines(result: dict[str, Any]) -> Iterator[str]:
    """The table of a result, at most 40 columns wide."""
    data = result["data"]
    yield (
        f"{data['images']:,} of {data['image_width']}x{data['image_height']}, "
        f"{data['jpeg_bytes'] / 1000:.1f} KB, batch {data['batch_size']}"
    )
    yield ""
    yield f"{'':<26}{'images/s':>9}"
    for name, speed in result["throughput"].items():
        if name not in result["costs_ms"]:
            yield f"{name:<26}{speed['median']:>9,.0f}"
    if result["step"]:
        yield f"{'train step':<26}{number(result['step']['images_per_second']):>9}"
    if result["conversion"]:
        yield f"{'conversion':<26}{number(result['conversion']['images_per_second']):>9}"
    yield ""
    yield f"{'one core, an image':<26}{'ms':>9}"
    for name, cost in result["costs_ms"].items():
        yield f"{name:<26}{cost:>9.3f}"
    if result["conversion"]:
        yield f"{'conversion':<26}{result['conversion']['cpu_ms']:>9.2f}"


def _cases(
    config: BenchConfig, manifest: records.Manifest, spec: records.Split, encoded: list[bytes]
) -> dict[str, timing.Case]:
    split, batch, cores = spec.name, config.batch_size, machine.usable_cores()
    height, width = manifest.image_height, manifest.image_width
    classes = len(manifest.classes)

    @functools.cache  # What is kept in memory is loaded once for all rows.
    def data(way: str) -> ImageDataset:
        return ImageDataset(config.data_dir, manifest, way)

    def training(way: str, augment_on: str) -> timing.Case:
        return cases.training(data(way), batch, augment_on, split, config)

    result = {
        HOST: training("encoded", "host"),
        HOST_STREAMED: training("none", "host"),
        DEVICE: training("encoded", "device"),
        DEVICE_STREAMED: training("none", "device"),
    }
    record_bytes = sum(shard.num_bytes for shard in spec.shards)
    room = cache.room_for(machine.free_bytes())
    if "decoded" in cache.fitting(spec.num_examples, record_bytes, height * width * 3, room):
        result[HOST_DECODED] = training("decoded", "host")
        result[DECODED] = training("decoded", "device")
    else:
        report("The pixels do not fit into memory: no decoded cache is measured.")
    return {
        **result,
        EVALUATION: cases.evaluation(data("encoded"), batch, False, cores, split),
        EVALUATION_FLOAT: cases.evaluation(data("encoded"), batch, True, cores, split),
        DECODE_JPEG: cases.decode_jpeg(encoded, height, width, batch, cores),
        LIMIT: cases.bare_decode(encoded, height, width, batch, cores),
        READ: cases.read(config.data_dir, spec, classes, cores),
        DECODE: cases.decode(encoded, height, width, batch, cores),
        AUGMENT: cases.augmentation(height, width, batch, cores, config),
    }


def _step(config: BenchConfig, manifest: records.Manifest) -> dict[str, Any]:
    """The speed of train steps, and the device they ran on."""
    # The others of several workers would have to be there; one's own step is what is asked.
    alone = "auto" if config.strategy == "multi_worker" else config.strategy
    strategy = hardware.make_strategy(alone, config.tpu)
    shape = (manifest.image_height, manifest.image_width)
    model = building.build_model(config, strategy, max(1, len(manifest.classes)), shape, None)
    turn = timing.one_turn(steps.prepare(config, strategy, model), 4 * config.seconds)
    return {
        "model": config.model,
        "parameters": model.count_params(),
        "batch_size": config.batch_size,
        "replicas": strategy.num_replicas_in_sync,
        "device": hardware.describe(strategy),
        "mixed_precision": config.mixed_precision,
        "images_per_second": turn.items / turn.seconds,
    }


def _conversion(config: BenchConfig, manifest: records.Manifest) -> dict[str, Any]:
    """The converter, from photographs to records of the size of these, without labels."""
    photographs = config.images_dir or ""

    def run(output: str, count: int) -> Callable[[], object]:
        settings = ConvertConfig(
            images_dir=photographs,
            output_dir=files.join(output, str(count)),
            image_height=manifest.image_height,
            image_width=manifest.image_width,
            jpeg_quality=manifest.jpeg_quality,
            max_examples=count,
        )
        return lambda: convert(settings)

    with temporary.scratch_folder() as output, timing.quiet():
        run(output, 4)()
        made = files.join(output, str(_CONVERTED_IMAGES))
        turn = timing.timed(run(output, _CONVERTED_IMAGES), _CONVERTED_IMAGES)
        count = sum(s.num_examples for s in records.read_manifest(made).splits.values())
    names = files.list_dir(photographs)
    sizes = [files.size(files.join(photographs, name)) for name in names[:_CONVERTED_IMAGES]]
    return {
        "images": count,
        "images_per_second": count / turn.seconds,
        "cpu_ms": 1000 * turn.cpu_seconds / count,
        "photograph_bytes": sum(sizes) / len(sizes),
    }
