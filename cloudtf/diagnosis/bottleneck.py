"""Which stage of training binds, and the flag that would lift it: from the speed of each alone."""

from __future__ import annotations

import dataclasses

# Stages that must be paid again each epoch, for each way to cache.
_RECURRING = {
    "none": ("read", "decode", "augment"),
    "encoded": ("decode", "augment"),
    "decoded": ("augment",),
}


@dataclasses.dataclass(frozen=True)
class Situation:
    """What is known of a planned run.

    Attributes:
      speeds: images a second of `read`, `decode`, `augment` and `step`, each alone on all cores
        or devices; without `augment` where the host does not augment.
      accelerator: `CPU`, `GPU` or `TPU`.
      cache: of the training split, `none`, `encoded` or `decoded`.
      fits: the caches that would fit into memory.
      data_service: whether other machines decode already.
      model: the network.
      mixed_precision: whether it computes in half precision.
      jit_compile: whether XLA compiles the step.
      steps_per_execution: steps a call.
    """

    speeds: dict[str, float]
    accelerator: str
    cache: str
    fits: tuple[str, ...]
    model: str
    mixed_precision: bool
    jit_compile: bool
    steps_per_execution: int
    data_service: bool = False


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What binds.

    Attributes:
      images_per_second: to be expected of training as a whole.
      stage: what binds: `read`, `decode`, `augment` or `step`.
      share: the stage's part of the time of an image (on a CPU), or of the host's work for an
        image (where an accelerator waits for the host); 1 for a step on an accelerator.
      advice: a sentence with the flag.
    """

    images_per_second: float
    stage: str
    share: float
    advice: str


def judge(situation: Situation) -> Verdict:
    """Names the bottleneck.

    On an accelerator the host works while the device does, so the slower of both sets the pace:
    1 / max(sum of the host's stages, step) seconds an image. On a CPU they share the cores, so
    their times add up.
    """
    recurring = _RECURRING[situation.cache]
    host = {n: 1 / situation.speeds[n] for n in recurring if n in situation.speeds}
    step = 1 / situation.speeds["step"]
    waiting = sum(host.values())
    if situation.accelerator == "CPU":
        costs = {**host, "step": step}
        total = waiting + step
    elif waiting > step:
        costs, total = host, waiting
    else:
        costs, total = {"step": step}, step
    stage = max(costs, key=lambda name: costs[name])
    return Verdict(1 / total, stage, costs[stage] / sum(costs.values()), _advice(stage, situation))


def _advice(stage: str, situation: Situation) -> str:
    return {"read": _read, "decode": _decode, "augment": _augment, "step": _step}[stage](situation)


def _read(situation: Situation) -> str:
    for cache in ("decoded", "encoded"):
        if cache in situation.fits:
            return f"--cache={cache} reads the records once only; they fit into memory."
    return (
        "Put the records on a faster disk or nearer, or convert them to more shards "
        "(--num_shards), which are read at once."
    )


def _decode(situation: Situation) -> str:
    if "decoded" in situation.fits:
        return "--cache=decoded keeps the pixels; they fit into memory."
    if situation.data_service:
        return "On the data service's machines it is shared: start more of `cloudtf data-worker`."
    return "--data_service lets other machines decode; or take a machine with more cores."


def _augment(situation: Situation) -> str:
    if situation.accelerator != "CPU":
        return "--augment_on=device augments there."
    return "Fewer --augmentations would do; a GPU would take them over."


def _step(situation: Situation) -> str:
    if situation.accelerator == "CPU":
        if situation.model in ("efficientnetb0", "tiny"):
            return "Smaller images (convert with a smaller --image_height and width), or a GPU."
        return "--model=efficientnetb0 is the lightest network; a GPU is much faster."
    if not situation.mixed_precision:
        return "--mixed_precision is about twice as fast on recent GPUs and on TPUs."
    if situation.steps_per_execution == 1:
        return "--steps_per_execution=8 saves round trips between host and device."
    if situation.accelerator == "GPU" and not situation.jit_compile:
        return "--jit_compile lets XLA fuse the step's operations."
    return "The input keeps up; a larger --batch_size or more devices train faster."
