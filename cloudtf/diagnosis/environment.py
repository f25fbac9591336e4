"""Checks of the set-up: Python, TensorFlow, Keras, devices, cores, memory, weights, disk."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import urllib.error
import urllib.request
from typing import Any, Mapping, Optional

from cloudtf import __version__, files, machine
from cloudtf.diagnosis.config import TrialConfig
from cloudtf.diagnosis.findings import Sheet
from cloudtf.errors import UserError, param, reason

# Variables that change what TensorFlow does, and what a user may not remember having set.
_NUMBERS_OF_THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
_HIDES_GPUS = ("", "-1", "NoDevFiles")
_NVIDIA_DEVICE = "/dev/nvidia0"

# Bytes a parameter in a checkpoint: float32 weights and the optimizer's two slots. While one is
# written the one before is still there, and so it is with the best model, which has weights alone.
_CHECKPOINT_BYTES = 2 * 12 + 2 * 4
_OTHER_BYTES = 50_000_000


def check_software(sheet: Sheet) -> bool:
    """Python, TensorFlow, the stack, Keras 2.

    Returns:
      Whether TensorFlow can be used.
    """
    sheet.ok(f"Python {platform.python_version()}, cloudtf {__version__}")

    def versions() -> Any:
        import tensorflow as tf

        from cloudtf.model import keras2

        keras2.require()
        return tf

    tf = sheet.attempt(versions)
    if tf is None:
        return False
    major, minor = (int(part) for part in tf.__version__.split(".")[:2])
    stack = "classic" if (major, minor) <= (2, 15) else "current"
    sheet.ok(f"TensorFlow {tf.__version__}, stack {stack}, the Keras 2 API is tf.keras")
    _check_tensorboard(sheet, importlib.metadata.version("tensorboard"))
    return True


def _check_tensorboard(sheet: Sheet, version: str) -> None:
    major, minor = (int(part) for part in version.split(".")[:2])
    if (major, minor) <= (2, 20) and importlib.util.find_spec("pkg_resources") is None:
        sheet.note(
            f"TensorBoard {version} does not start without pkg_resources, which setuptools 81 and "
            'later lack; install an earlier one: pip install "setuptools<81".'
        )


def check_hardware(
    sheet: Sheet, config: TrialConfig, environment: Mapping[str, str]
) -> Optional[Any]:
    """Devices, cores, threads and memory.

    Args:
      sheet: the report, to which the findings are added.
      config: the settings of the run that is planned.
      environment: the environment variables of this process, name -> value.

    Returns:
      The strategy of the run; that of this machine alone if several are to take part; None if the
      hardware is not there.
    """
    from cloudtf.training import building, hardware

    alone = config.strategy != "multi_worker"

    def choose() -> Any:
        # A worker would wait here for all others.
        found = hardware.make_strategy(config.strategy if alone else "auto", config.tpu)
        if alone:
            hardware.per_replica_batch(found, config.batch_size)
            hardware.jit_compiles(config, found)
        with building.precision(config.mixed_precision, found):
            return found

    strategy = sheet.attempt(choose)
    if strategy is not None:
        sheet.ok(f"Trains on {hardware.describe(strategy)}")
        _check_gpus(sheet, config, hardware.accelerator(strategy), environment)
    if not alone:
        sheet.note("Several workers: only this machine is looked at, without the others.")
    _check_threads(sheet, environment)
    free, total = machine.free_bytes(), machine.total_bytes()
    sheet.ok(f"{_gigabytes(free)} of {_gigabytes(total)} memory free")
    return strategy


def _check_gpus(
    sheet: Sheet, config: TrialConfig, accelerator: str, environment: Mapping[str, str]
) -> None:
    import tensorflow as tf

    for device in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(device)
        sheet.ok(f"{device.name}: {details.get('device_name', 'GPU')}")
    if accelerator != "CPU" or config.strategy == "cpu":
        return
    if environment.get("CUDA_VISIBLE_DEVICES", "0") in _HIDES_GPUS:
        sheet.note("CUDA_VISIBLE_DEVICES hides all GPUs; unset it to train on them.")
    elif os.path.exists(_NVIDIA_DEVICE):
        sheet.wrong(
            "This machine has an NVIDIA GPU that TensorFlow does not see; install the classic-gpu "
            f"or current-gpu extra of cloudtf, or train with {param(strategy='cpu')}."
        )
    else:
        sheet.note("There is no GPU or TPU: training on a CPU is slow.")


def _check_threads(sheet: Sheet, environment: Mapping[str, str]) -> None:
    usable, present = machine.usable_cores(), os.cpu_count() or 1
    sheet.ok(f"{usable} cores")
    if usable < present:
        sheet.note(f"The machine has {present} cores, this process may use {usable}.")
    quota = machine.cpu_quota()
    if quota is not None and quota < usable:
        sheet.note(f"The container or job allows {quota:g} cores' worth of time on them.")
    for name in _NUMBERS_OF_THREADS:
        value = environment.get(name)
        if value is not None and value != str(usable):
            sheet.note(f"{name}={value} is set, where TensorFlow would use {usable} threads.")


def check_weights(sheet: Sheet, config: TrialConfig) -> Optional[str]:
    """Whether the weights to start from are there or can be downloaded.

    Returns:
      The path of the weights' file; None for random weights, or where it is not there yet.
    """
    from cloudtf.model import weights

    if config.weights == "none":
        return None
    if config.weights not in ("imagenet", "noisy-student"):
        if files.exists(config.weights):
            sheet.ok(f"The weights {config.weights} are there")
            return config.weights
        sheet.wrong(
            f"{param(weights=config.weights)} is neither imagenet, noisy-student, none nor a file "
            "that exists."
        )
        return None

    def find() -> Optional[str]:
        path = weights.cached(config.model, config.weights)
        if path is not None:
            sheet.ok(f"The {config.weights} weights of {config.model} are in {path}")
            return path
        url, _ = weights.source(config.model, config.weights)
        sheet.ok(f"The {config.weights} weights will be downloaded, {_reach(url, config)}")
        return None

    return sheet.attempt(find)


def _reach(url: str, config: TrialConfig) -> str:
    """The size of what is there, in words; UserError if it cannot be reached."""
    try:
        request = urllib.request.Request(url, method="HEAD")
        with urllib.request.urlopen(request, timeout=10) as response:
            length = response.headers.get("Content-Length")
    except (OSError, ValueError) as error:
        cause = getattr(error, "reason", None)
        raise UserError(
            f"The {config.weights} weights of {config.model} are not in the cache and cannot be "
            f"reached ({reason(cause if isinstance(cause, Exception) else error)}); download {url} "
            f"yourself and pass its path as {param('weights')}."
        ) from error
    return f"{int(length) / 1e6:.0f} MB" if length and length.isdigit() else "of unknown size"


def check_run_folder(sheet: Sheet, run_dir: Optional[str], parameters: int) -> None:
    """Whether the run's folder can be written to, and has room.

    Args:
      sheet: the report, to which the findings are added.
      run_dir: the folder, which need not exist; None: no check.
      parameters: the number of the network's parameters.
    """
    if run_dir is None or files.is_remote(run_dir):
        return
    folder = os.path.abspath(run_dir)
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        sheet.wrong(f"The folder {folder} cannot be written to; give another {param('run_dir')}.")
        return
    needed = parameters * _CHECKPOINT_BYTES + _OTHER_BYTES
    free = shutil.disk_usage(folder).free
    text = f"{_gigabytes(free)} free for {run_dir}, which takes up to {_gigabytes(needed)}"
    if free < needed:
        sheet.wrong(f"{text}; make room, or give another {param('run_dir')}.")
    else:
        sheet.ok(text)


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count < 1e10 else f"{count / 1e9:,.0f} GB"
