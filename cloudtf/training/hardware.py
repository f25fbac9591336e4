"""Which hardware a run uses, as a `tf.distribute` strategy, and what it does on it.

`make_strategy` chooses among the CPU, one GPU, several, the machines that TF_CONFIG names, and a
TPU; `augments_on` and `jit_compiles` say what follows for the train step.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
from typing import Any, Iterator

import tensorflow as tf

from cloudtf import network
from cloudtf.errors import UsageError, UserError, param, reason
from cloudtf.training.config import TrainConfig

# How long another worker may be silent before it counts as lost.
HEARTBEAT_SECONDS = 100


def make_strategy(name: str, tpu: str = TrainConfig.tpu) -> tf.distribute.Strategy:
    """The strategy for the wanted hardware.

    Args:
      name: `auto` (a TPU VM's TPU, else all GPUs, else the CPU), `cpu`, `gpu` (one), `mirrored`
        (all GPUs of this machine; logical CPU devices where a program has set up several),
        `multi_worker` (machines named by the environment variable TF_CONFIG) or `tpu`.
      tpu: the TPU's name or grpc:// address; `local` on a TPU VM.

    Raises:
      UserError: the hardware is not there, or TF_CONFIG is not usable.
    """
    # These two before TensorFlow looks at its devices: a cluster cannot be joined any more then.
    if name == "multi_worker":
        _tf_config()
        return _multi_worker_strategy()
    if name == "tpu" or (name == "auto" and _on_tpu_vm()):
        return _tpu_strategy(tpu)
    gpus = tf.config.list_logical_devices("GPU")
    if name == "auto":
        name = _detect(len(gpus))
    if name == "cpu":
        return tf.distribute.OneDeviceStrategy("/cpu:0")
    if name == "gpu":
        if not gpus:
            raise UserError(
                f"{param(strategy='gpu')}: TensorFlow sees no GPU here; choose a GPU runtime, or "
                "install the classic-gpu or current-gpu extra and the NVIDIA driver, or train with "
                f"{param(strategy='cpu')}."
            )
        return tf.distribute.OneDeviceStrategy(gpus[0].name)
    if name == "mirrored":
        devices = gpus or tf.config.list_logical_devices("CPU")
        if len(devices) < 2:
            raise UserError(
                f"{param(strategy='mirrored')} needs two GPUs or more, and TensorFlow sees "
                f"{len(gpus)}; use {param(strategy='gpu')} or {param(strategy='cpu')}."
            )
        return _mirrored_strategy(tuple(device.name for device in devices))
    raise UsageError(f"{param(strategy=name)} is not a strategy.")


def per_replica_batch(strategy: tf.distribute.Strategy, batch_size: int) -> int:
    """The share of one replica in the global batch.

    Raises:
      UsageError: the batch cannot be shared evenly.
    """
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise UsageError(
            f"{param(batch_size=batch_size)} cannot be shared by {replicas} replicas; use a "
            f"multiple such as {max(batch_size // replicas, 1) * replicas}."
        )
    return batch_size // replicas


def jit_compiles(config: TrainConfig, strategy: tf.distribute.Strategy) -> bool:
    """Whether the train step asks XLA to compile it. A TPU compiles all of it by itself.

    Raises:
      UsageError: replicas would have to speak to each other within what is compiled, which only a
        TPU's can.
    """
    if not config.jit_compile or accelerator(strategy) == "TPU":
        return False
    _refuse_sums_over_replicas(config, strategy, param(jit_compile=True))
    return True


def accumulates(config: TrainConfig, strategy: tf.distribute.Strategy) -> int:
    """The parts in which a step computes its batch, one after the other.

    Raises:
      UsageError: replicas would have to speak to each other within each part.
    """
    if config.accumulate_steps > 1:
        named = param(accumulate_steps=config.accumulate_steps)
        _refuse_sums_over_replicas(config, strategy, named)
    return config.accumulate_steps


def _refuse_sums_over_replicas(
    config: TrainConfig, strategy: tf.distribute.Strategy, named: str
) -> None:
    sums = param(sync_batch_norm=True) if config.sync_batch_norm else param(loss=config.loss)
    over_replicas = config.sync_batch_norm or config.loss in ("dice", "bce_dice")
    if over_replicas and strategy.num_replicas_in_sync > 1:
        raise UsageError(
            f"{named} cannot be had with {sums} on {strategy.num_replicas_in_sync} replicas, over "
            "which that takes sums; leave one of the two out."
        )


def augments_on(config: TrainConfig, strategy: tf.distribute.Strategy) -> str:
    """Where images are augmented: `host` or `device`."""
    if config.augment_on != "auto":
        return config.augment_on
    return "host" if accelerator(strategy) == "CPU" else "device"


def describe(strategy: tf.distribute.Strategy) -> str:
    """The hardware in a few words, such as `2 x GPU (MirroredStrategy)`."""
    name = type(strategy).__name__
    # The classes behind these bear other names.
    for public in ("MultiWorkerMirroredStrategy", "MirroredStrategy"):
        if isinstance(strategy, getattr(tf.distribute, public)):
            name = public
            break
    return f"{strategy.num_replicas_in_sync} x {accelerator(strategy)} ({name})"


def accelerator(strategy: tf.distribute.Strategy) -> str:
    """`CPU`, `GPU` or `TPU`."""
    device = strategy.extended.worker_devices[0].upper()
    return next((kind for kind in ("TPU", "GPU") if kind in device), "CPU")


def computes_meanwhile(strategy: tf.distribute.Strategy) -> bool:
    """Whether a step that was sent to the device is computed while Python goes on."""
    synchronous = tf.config.experimental.get_synchronous_execution()
    return accelerator(strategy) != "CPU" or not synchronous


def _on_tpu_vm() -> bool:
    # TPU VMs say so in their environment; asking the resolver costs a minute elsewhere.
    return any(variable in os.environ for variable in ("TPU_NAME", "TPU_ACCELERATOR_TYPE"))


class _MirroredStrategy(tf.distribute.MirroredStrategy):
    """With keys of its own for what its replicas exchange.

    Two strategies in one process begin with the same key, and what they exchange under it is taken
    for one another's; a user's own strategy would fail with ours, or ours with it.
    """

    _collective_key_base = 1_000_000


# One a process: a second one over the same devices would repeat the first one's collective keys.
@functools.cache
def _mirrored_strategy(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    return _MirroredStrategy(list(devices))


@functools.cache
def _multi_worker_strategy() -> tf.distribute.Strategy:
    try:
        with _patient_heartbeats():
            strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except (tf.errors.OpError, ValueError, TypeError) as error:
        raise UserError(
            f"{param(strategy='multi_worker')}: this worker cannot start as TF_CONFIG says "
            f"({reason(error)}); check its address, and that no other process uses the port."
        ) from error
    config = _tf_config()
    cluster, task = config["cluster"], config["task"]
    if sum(map(len, cluster.values())) > 1:  # One alone has no server.
        address = str(cluster[task["type"]][int(task["index"])])
        network.report_open(f"port {address.rpartition(':')[2]}")
    return strategy


@contextlib.contextmanager
def _patient_heartbeats() -> Iterator[None]:
    """Lets a worker be silent for longer than the 10 s after which TensorFlow gives it up.

    A machine that is busy or swaps is silent for longer, and then the whole job would end. A worker
    whose process has died is mostly noticed at once, by its closed connection.
    """
    from tensorflow.python.eager import context  # There is no public way to say it.

    target = context.context()
    configure = target.configure_coordination_service
    target.configure_coordination_service = functools.partial(
        configure, heartbeat_timeout_in_ms=1000 * HEARTBEAT_SECONDS
    )
    try:
        yield
    finally:
        del target.configure_coordination_service  # Back to the method of the class.


def _detect(num_gpus: int) -> str:
    if num_gpus > 1:
        return "mirrored"
    return "gpu" if num_gpus else "cpu"


def workers_here(choice: str) -> int:
    """How many workers of a run are on this machine, this one with them.

    Args:
      choice: the `strategy` of the settings.

    Raises:
      UserError: it is `multi_worker`, and TF_CONFIG does not say.
    """
    if choice != "multi_worker":
        return 1
    config = _tf_config()
    cluster, task = config["cluster"], config["task"]
    own = _host(cluster[task["type"]][int(task["index"])])
    return sum(_host(other) == own for job in ("chief", "worker") for other in cluster.get(job, ()))


def _host(address: str) -> str:
    return str(address).rpartition(":")[0]


def _tf_config() -> dict[str, Any]:
    text = os.environ.get("TF_CONFIG")
    example = (
        '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
        '"task": {"type": "worker", "index": 0}}'
    )
    if not text:
        raise UserError(
            f"{param(strategy='multi_worker')} needs the environment variable TF_CONFIG, such as "
            f"{example}."
        )
    try:
        config = json.loads(text)
        job = config["task"]["type"]
        if job not in ("chief", "worker"):
            raise ValueError(f"a task is a chief or a worker, not {job!r}")
        hosts, index = config["cluster"][job], int(config["task"]["index"])
        if not isinstance(hosts, list) or not 0 <= index < len(hosts):
            raise ValueError(f"there is no host number {index} in {hosts!r}")
        return config
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"TF_CONFIG does not name this worker ({type(error).__name__}: {reason(error)}); "
            f"it must look like {example}."
        ) from error


def _tpu_strategy(tpu: str) -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=tpu)
        if tpu != "local":
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except Exception as error:
        raise UserError(
            f"{param(strategy='tpu')}: no TPU could be reached as {param(tpu=tpu)} "
            f"({reason(error)}); on a TPU VM with a TPU build of TensorFlow use "
            f"{param(tpu='local')}, elsewhere give its name or grpc:// address."
        ) from error
    return tf.distribute.TPUStrategy(resolver)
