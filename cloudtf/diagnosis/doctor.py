"""A check-up of a planned training run: the set-up, the data, and the speed of each stage."""

from __future__ import annotations

import dataclasses
from typing import Any, Mapping, Optional

from cloudtf import machine
from cloudtf.data import records
from cloudtf.diagnosis import data as data_checks
from cloudtf.diagnosis import environment as environment_checks
from cloudtf.diagnosis.config import DoctorConfig
from cloudtf.diagnosis.findings import Sheet
from cloudtf.errors import param
from cloudtf.text import number

# JPEGs held in memory for the timing of decoding.
_SAMPLE = 512


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """The result of a check-up.

    Attributes:
      wrong: the number of findings that training would refuse, fail on or suffer from.
      notes: the number of findings that work and are worth knowing.
      bottleneck: `read`, `decode`, `augment` or `step`; None where nothing was timed.
    """

    wrong: int
    notes: int
    bottleneck: Optional[str] = None


def doctor(config: DoctorConfig, environment: Mapping[str, str]) -> Diagnosis:
    """Checks everything and reports it; nothing is written, and nothing downloaded.

    Args:
      config: the settings of the run that is planned.
      environment: the environment variables of this process, name -> value.
    """
    sheet = Sheet()
    sheet.plain("Set-up")
    usable = environment_checks.check_software(sheet)
    strategy, weights = None, None
    if usable:
        strategy = environment_checks.check_hardware(sheet, config, environment)
        weights = environment_checks.check_weights(sheet, config)
    sheet.heading("Data")
    manifest = data_checks.check_manifest(sheet, config.data_dir)
    splits = None
    if manifest is not None:
        before = sheet.wrong_count
        data_checks.check_shards(sheet, config.data_dir, manifest, config.check_shards, usable)
        if usable and sheet.wrong_count == before:
            data_checks.check_copies(sheet, config.data_dir, manifest, config.check_shards)
        if config.on_bad_record == "skip" and sheet.wrong_count > before:
            sheet.note(
                f"{param(on_bad_record='skip')} leaves out damaged records, up to 1% of a split."
            )
        if usable:
            splits = _check_splits(sheet, config, manifest)
    bottleneck = None
    if strategy is not None and manifest is not None and splits:
        model = _check_network(sheet, config, strategy, manifest, weights)
        if model is not None and config.timing:
            sheet.heading("Speed, each stage alone")
            if sheet.wrong_count:
                sheet.note("Not timed, since something is wrong; fix that first.")
            else:
                bottleneck = sheet.attempt(
                    lambda: _time(sheet, config, strategy, manifest, splits, model)
                )
    return Diagnosis(sheet.wrong_count, sheet.note_count, bottleneck)


def _check_splits(
    sheet: Sheet, config: DoctorConfig, manifest: records.Manifest
) -> Optional[dict[str, Any]]:
    """What is trained and validated on; None if that cannot be.

    Returns:
      `train`: all training splits as one, and `cache`: how that one is kept.
    """
    from cloudtf.pipeline.dataset import ImageDataset
    from cloudtf.training import label_notes
    from cloudtf.training.splits import choose_splits

    found = sheet.attempt(
        lambda: choose_splits(config, ImageDataset(config.data_dir, manifest, config.cache))
    )
    if found is None:
        return None
    train_names, val_name = found
    for note in label_notes.label_notes(
        manifest, train_names, val_name, config.batch_size, config.accumulate_steps
    ):
        sheet.note(note)
    train = manifest.joined(train_names)
    order = [train, manifest.split(val_name)]
    if config.data_service is not None:  # Then the training batches come from there.
        order.remove(train)
    choices = data_checks.check_cache(sheet, manifest, order, config.cache)
    return {"train": train, "cache": choices.get(train.name, "none")}


def _check_network(
    sheet: Sheet, config: DoctorConfig, strategy: Any, manifest: records.Manifest, weights: Any
) -> Any:
    from cloudtf.training import building

    shape = (manifest.image_height, manifest.image_width)
    model = sheet.attempt(
        lambda: building.build_model(config, strategy, len(manifest.classes), shape, weights)
    )
    if model is not None:
        parameters = model.count_params()
        sheet.ok(f"{config.model} has {parameters:,} parameters")
        environment_checks.check_run_folder(sheet, config.run_dir, parameters)
    return model


def _time(
    sheet: Sheet,
    config: DoctorConfig,
    strategy: Any,
    manifest: records.Manifest,
    splits: dict[str, Any],
    model: Any,
) -> str:
    """Times the stages, prints them, names the bottleneck."""
    from cloudtf.diagnosis import bottleneck, cases, samples, steps
    from cloudtf.diagnosis.timing import one_turn, summary
    from cloudtf.pipeline import cache
    from cloudtf.training import hardware

    served = config.data_service is not None
    if served:
        sheet.note(f"{param('data_service')}: its machines' work is timed on this one.")
    cores, batch = machine.usable_cores(), min(config.batch_size, 64)
    height, width = shape = (manifest.image_height, manifest.image_width)
    train = splits["train"]
    encoded = samples.encoded(config.data_dir, train, len(manifest.classes), _SAMPLE)
    prepared = {
        "read": cases.read(config.data_dir, train, len(manifest.classes), cores),
        "decode": cases.decode(encoded, *shape, batch, cores),
    }
    if hardware.augments_on(config, strategy) == "host" and config.change_images:
        prepared["augment"] = cases.augmentation(*shape, batch, cores, config)
    prepared["step"] = steps.prepare(config, strategy, model)
    speeds = {}
    for name, case in prepared.items():
        speeds[name] = summary([one_turn(case, config.seconds)]).median
        sheet.plain(f"  {name:<8}{1000 / speeds[name]:>8.3f} ms {speeds[name]:>8,.0f} images/s")
    record_bytes = sum(shard.num_bytes for shard in train.shards)
    room = 0 if served else cache.room_for(machine.free_bytes())
    fits = cache.fitting(train.num_examples, record_bytes, height * width * 3, room)
    verdict = bottleneck.judge(
        bottleneck.Situation(
            speeds=speeds,
            accelerator=hardware.accelerator(strategy),
            cache=splits["cache"],
            fits=tuple(way for way in fits if way != "none"),
            model=config.model,
            mixed_precision=config.mixed_precision,
            jit_compile=hardware.jit_compiles(config, strategy),
            steps_per_execution=config.steps_per_execution,
            data_service=served,
        )
    )
    sheet.ok(
        f"About {number(verdict.images_per_second)} images/s in all; the bottleneck is "
        f"{verdict.stage}, with {100 * verdict.share:.0f}% of "
        f"{_whose(verdict.stage, strategy)}. {verdict.advice}"
    )
    return verdict.stage


def _whose(stage: str, strategy: Any) -> str:
    from cloudtf.training import hardware

    if stage == "step" or hardware.accelerator(strategy) == "CPU":
        return "an image's time"
    return "the host's work, for which the device waits"
