"""The bottleneck of a training run, and the setting that lifts it, from the speed of each stage."""

from __future__ import annotations

import dataclasses

from cloudtf.errors import param

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
      cache: how the training split is kept in memory: `none`, `encoded` or `decoded`.
      fits: the caches that would fit into memory.
      model: the network's name, such as `efficientnetb2`.
      mixed_precision: whether the network computes in half precision.
      jit_compile: whether XLA compiles the step.
      steps_per_execution: the number of steps in one call of the compiled program.
      data_service: whether other machines decode already.
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
    """The bottleneck.

    Attributes:
      images_per_second: the expected speed of training as a whole.
      stage: the bottleneck: `read`, `decode`, `augment` or `step`.
      share: the stage's part of the time of an image (on a CPU), or of the host's work for an
        image (where an accelerator waits for the host), in (0, 1]; 1 for a step on an accelerator.
      advice: one or two sentences that name the setting to change.
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
            return f"{param(cache=cache)} reads the records once only; they fit into memory."
    return (
        "Put the records on a faster disk or nearer, or convert them to more shards "
        f"({param('num_shards')}), which are read at once."
    )


def _decode(situation: Situation) -> str:
    if "decoded" in situation.fits:
        return f"{param(cache='decoded')} keeps the pixels; they fit into memory."
    if situation.data_service:
        return "The data service's machines share it: start more of `cloudtf data-worker`."
    return f"{param('data_service')} lets other machines decode; or take a machine with more cores."


def _augment(situation: Situation) -> str:
    if situation.accelerator != "CPU":
        return f"{param(augment_on='device')} augments on the accelerator."
    return f"Use fewer {param('augmentations')}, or a GPU, which would take them over."


def _step(situation: Situation) -> str:
    if situation.accelerator == "CPU":
        if situation.model in ("efficientnetb0", "tiny"):
            return (
                f"Use smaller images (convert with a smaller {param('image_height')} and width), "
                "or a GPU."
            )
        return f"{param(model='efficientnetb0')} is the lightest network; a GPU is much faster."
    if not situation.mixed_precision:
        return f"{param(mixed_precision=True)} is about twice as fast on recent GPUs and on TPUs."
    if situation.steps_per_execution == 1:
        return f"{param(steps_per_execution=8)} saves round trips between host and device."
    if situation.accelerator == "GPU" and not situation.jit_compile:
        return f"{param(jit_compile=True)} lets XLA fuse the step's operations."
    return f"The input keeps up; a larger {param('batch_size')} or more devices train faster."
