"""What binds, from the speed of each stage: cases computed by hand."""

from __future__ import annotations

import dataclasses

import pytest

from cloudtf.diagnosis.bottleneck import Situation, judge

GPU = Situation(
    speeds={"read": 10_000, "decode": 2_000, "augment": 1_000, "step": 500},
    accelerator="GPU",
    cache="none",
    fits=(),
    model="efficientnetb2",
    mixed_precision=False,
    jit_compile=False,
    steps_per_execution=1,
)


def of(**changes):
    speeds = {**GPU.speeds, **changes.pop("speeds", {})}
    return judge(dataclasses.replace(GPU, speeds=speeds, **changes))


def test_an_accelerator_waits_for_the_slower_of_host_and_step():
    # Host: 0.1 + 0.5 + 1 = 1.6 ms an image; step: 2 ms.
    slow_step = of()
    assert slow_step.images_per_second == pytest.approx(500)
    assert (slow_step.stage, slow_step.share) == ("step", 1)
    # Step: 0.5 ms. The host's 1.6 ms bind, 1 ms of it in augmentation.
    slow_host = of(speeds={"step": 2_000})
    assert slow_host.images_per_second == pytest.approx(625)
    assert slow_host.stage == "augment"
    assert slow_host.share == pytest.approx(1 / 1.6)


def test_on_a_cpu_times_add_up():
    verdict = of(accelerator="CPU", cache="encoded")
    # 0.5 + 1 + 2 = 3.5 ms.
    assert verdict.images_per_second == pytest.approx(1000 / 3.5)
    assert (verdict.stage, verdict.share) == ("step", pytest.approx(2 / 3.5))


@pytest.mark.parametrize(
    ("cache", "milliseconds"), [("none", 1.6), ("encoded", 1.5), ("decoded", 1.0)]
)
def test_what_is_cached_is_not_paid_again(cache, milliseconds):
    verdict = of(cache=cache, speeds={"step": 1e9})
    assert verdict.images_per_second == pytest.approx(1000 / milliseconds)


@pytest.mark.parametrize(
    ("changes", "stage", "flag"),
    [
        ({"speeds": {"step": 1e6}}, "augment", "augment_on='device'"),
        ({"speeds": {"step": 1, "augment": 0.1}, "accelerator": "CPU"}, "augment",
         "augmentations"),
        ({"speeds": {"step": 1e6, "decode": 100}, "fits": ("decoded", "encoded")}, "decode",
         "cache='decoded'"),
        ({"speeds": {"step": 1e6, "decode": 100}, "data_service": True}, "decode",
         "data-worker"),
        ({"speeds": {"step": 1e6, "decode": 100}}, "decode", "data_service"),
        ({"speeds": {"step": 1e6, "read": 100}, "fits": ("encoded",)}, "read", "cache='encoded'"),
        ({"speeds": {"step": 1e6, "read": 100}}, "read", "num_shards"),
        ({}, "step", "mixed_precision=True"),
        ({"mixed_precision": True}, "step", "steps_per_execution=8"),
        ({"mixed_precision": True, "steps_per_execution": 8}, "step", "jit_compile=True"),
        ({"mixed_precision": True, "steps_per_execution": 8, "jit_compile": True}, "step",
         "batch_size"),
        ({"accelerator": "TPU", "mixed_precision": True, "steps_per_execution": 8}, "step",
         "batch_size"),
        ({"accelerator": "CPU"}, "step", "model='efficientnetb0'"),
        ({"accelerator": "CPU", "model": "efficientnetb0"}, "step", "image_height"),
    ],
)  # fmt: skip
def test_the_advice_names_the_flag_that_lifts_it(changes, stage, flag):
    verdict = of(**changes)
    assert verdict.stage == stage
    assert flag in verdict.advice


def test_a_stage_on_the_device_costs_the_host_nothing():
    speeds = {"read": 10_000, "decode": 2_000, "step": 1e9}
    verdict = judge(dataclasses.replace(GPU, speeds=speeds))
    assert verdict.images_per_second == pytest.approx(1000 / 0.6)
    assert verdict.stage == "decode"
