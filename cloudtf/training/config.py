"""The settings of a training run."""

from __future__ import annotations

import dataclasses
import re
from typing import Optional, Union

from cloudtf.data.records import ON_BAD_RECORD
from cloudtf.errors import UsageError, param
from cloudtf.model import choices
from cloudtf.model.choices import (
    CROSS_ENTROPIES,
    DEFAULT_MODEL,
    HEADS,
    LOSSES,
    MINIMUM_SIZE,
    MODELS,
    OPTIMIZERS,
    POSITIVE_WEIGHTS,
    SCHEDULES,
    WARMUP_PROPORTION,
    WEIGHT_DECAY,
)
from cloudtf.pipeline.augmentations import Augmentations
from cloudtf.pipeline.cache import CACHES
from cloudtf.pipeline.service.server import parse_address
from cloudtf.settings import REQUIRED, setting

# A schedule needs a peak above zero; no rate under this one moves a weight.
_LEAST_RATE = 1e-12

# The default peak rate, by whether a run begins with trained weights or with random ones.
_RATE, _RATE_OF_RANDOM = 3e-4, 4e-3

STRATEGIES = ("auto", "cpu", "gpu", "mirrored", "multi_worker", "tpu")


@dataclasses.dataclass(frozen=True)
class TrainConfig(Augmentations):
    """The settings of a run; `cloudtf train` has a flag of the same name for each.

    Of the records a fingerprint tells whether they are the same, wherever they are. `cache` and
    `data_service` may change where the order of examples stays.

    >>> config = TrainConfig(data_dir="records", run_dir="runs/c", weights="none", epochs=5)
    >>> config.batch_size, config.stage_epochs
    (32, (0, 5))
    """

    data_dir: str = setting(
        REQUIRED, "Folder of the records, made by `cloudtf convert`.", may_change=True
    )
    run_dir: str = setting(
        REQUIRED, "Folder for all that the run makes. Run again on it to go on.", may_change=True
    )
    train_split: str = setting("train", "Split to train on; not with `fold`.")
    val_split: str = setting("val", "Split to validate on; not with `fold`.")
    fold: Union[int, str, None] = setting(
        None,
        "Validate on split foldN and train on the other folds; all: a model a fold, each in a "
        "folder of `run_dir`, and scores out of fold.",
        minimum=0,
        word="all",
    )

    model: str = setting(DEFAULT_MODEL, "Network.", choices=MODELS, topic="model")
    weights: str = setting(
        "imagenet",
        "Start from imagenet, noisy-student, none (random) or a weights file.",
        topic="model",
    )
    dropout: float = setting(
        0.0, "Dropout before the head, as a share of the features.", minimum=0, maximum=0.9,
        topic="model",
    )  # fmt: skip
    batch_norm_momentum: Optional[float] = setting(
        None,
        "Momentum of the batch-norm averages; the network's own is 0.99 or 0.9. From random "
        "weights it is less in the first steps, so that the averages of short runs are right too.",
        minimum=0,
        maximum=0.9999,
        topic="model",
    )
    freeze_batch_norm: Optional[bool] = setting(
        None,
        "Keep the batch norm of a pretrained body as it is while the whole network is trained. "
        "Default: where the head was fitted on features (`head='features'`), which fits those of "
        "no other averages.",
        topic="model",
    )
    sync_batch_norm: bool = setting(
        False, "Average batch-norm statistics over all replicas of a step.", topic="model"
    )

    batch_size: int = setting(
        32, "Images a step over all replicas.", minimum=1, topic="optimization"
    )
    accumulate_steps: int = setting(
        1,
        "Batches whose gradients are summed for one step: as one of so many times `batch_size` "
        "images, in the memory of one. Batch norm takes its statistics from each.",
        minimum=1,
        topic="optimization",
    )
    head: Optional[str] = setting(
        None,
        "How the head is trained first, with the body frozen: fitted on features that are computed "
        "once, by logistic regression, or in `head_epochs`. Default: features, or epochs where "
        "`head_epochs` is given; with `weights='none'`, not at all.",
        choices=HEADS,
        topic="optimization",
    )
    feature_views: int = setting(
        1,
        "Of `head='features'`: views of each training image, 2 with its mirror image, 4 with all "
        "flips.",
        minimum=1,
        maximum=4,
        topic="optimization",
    )
    head_epochs: Optional[int] = setting(
        None,
        "Epochs with only the head trained, first, for `head='epochs'`. Default: 3, or 0 with "
        "`weights='none'`.",
        minimum=0,
        topic="optimization",
    )
    epochs: int = setting(
        20,
        "Epochs with the whole network trained.",
        minimum=0,
        topic="optimization",
        may_change=True,
    )
    steps_per_epoch: Optional[int] = setting(
        None, "Steps an epoch. Default: as many as the split has.", minimum=1, topic="optimization"
    )
    learning_rate: float = setting(
        None,
        "Peak learning rate of the whole network. Not scaled by replicas. Default: "
        f"{_RATE:g}, or {_RATE_OF_RANDOM:g} with `weights='none'`.",
        minimum=_LEAST_RATE,
        maximum=100,
        topic="optimization",
    )
    head_learning_rate: float = setting(
        1e-3, "Peak learning rate of the head alone.", minimum=_LEAST_RATE, maximum=100,
        topic="optimization",
    )  # fmt: skip
    optimizer: str = setting(
        "radam",
        "Rectified Adam, Adam, or Adam with decoupled weight decay.",
        choices=OPTIMIZERS,
        topic="optimization",
    )
    weight_decay: Optional[float] = setting(
        None,
        f"Of adamw, times the rate in effect; biases and normalisation do not decay. Default: "
        f"{WEIGHT_DECAY}.",
        minimum=0,
        maximum=100,
        topic="optimization",
    )
    schedule: str = setting(
        SCHEDULES[0], "How the rate falls after its warm-up.", choices=SCHEDULES,
        topic="optimization",
    )  # fmt: skip
    body_rate: float = setting(
        1.0, "The body's learning rate as a share of the head's.", minimum=0, maximum=1,
        topic="optimization",
    )  # fmt: skip
    layer_decay: float = setting(
        1.0, "The learning rate of a block of the body as a share of the next one's.",
        minimum=0, maximum=1, topic="optimization",
    )  # fmt: skip
    clip_norm: Optional[float] = setting(
        None, "Gradients are scaled down where their norm, over all weights, is larger.",
        minimum=1e-12, topic="optimization",
    )  # fmt: skip
    warmup_proportion: float = setting(
        WARMUP_PROPORTION, "Share of a stage's steps in which the rate rises to its peak.",
        minimum=0, maximum=1, topic="optimization",
    )  # fmt: skip
    final_rate: float = setting(
        0.01, "The rate at a stage's end, as a share of its peak.", minimum=0, maximum=1,
        topic="optimization",
    )  # fmt: skip
    ema: Optional[float] = setting(
        None,
        "Judge and keep an average of the weights, of which each step leaves this share: 0.999 is "
        "over some 1000 steps, and at most over the last tenth of those so far.",
        minimum=0,
        maximum=0.999999,
        topic="optimization",
    )
    soup: Optional[str] = setting(
        None,
        "At the end judge the average of the last so many epochs' weights, or (greedy) of those of "
        "the five best that make it better, and keep it if it is better than the best epoch.",
        topic="optimization",
    )
    loss: str = setting("bce", "Loss.", choices=LOSSES, topic="loss")
    focal_gamma: float = setting(
        choices.FOCAL_GAMMA, "Exponent of `loss='focal'`.", minimum=0, maximum=20, topic="loss"
    )
    focal_alpha: float = setting(
        choices.FOCAL_ALPHA,
        "Weight of classes that are present in `loss='focal'`; of absent ones 1 less that.",
        minimum=0,
        maximum=1,
        topic="loss",
    )
    asymmetric_gamma_neg: float = setting(
        choices.ASYMMETRIC_GAMMA_NEG,
        "Exponent of absent classes in `loss='asymmetric'`.", minimum=0, maximum=20,
        topic="loss",
    )  # fmt: skip
    asymmetric_gamma_pos: float = setting(
        choices.ASYMMETRIC_GAMMA_POS,
        "Exponent of present classes in `loss='asymmetric'`.", minimum=0, maximum=20,
        topic="loss",
    )  # fmt: skip
    asymmetric_clip: float = setting(
        choices.ASYMMETRIC_CLIP,
        "Probability under which `loss='asymmetric'` leaves out absent classes.",
        minimum=0,
        maximum=1,
        topic="loss",
    )
    positive_weights: str = setting(
        "none",
        "Weight of a class that is present, from the training split: its negatives over its "
        "positives, or the same of effective numbers; not for dice and categorical_crossentropy.",
        choices=POSITIVE_WEIGHTS,
        topic="loss",
    )
    effective_beta: float = setting(
        choices.EFFECTIVE_BETA,
        "Of `positive_weights='effective'`: 0 weighs all alike, nearly 1 is `inverse`.",
        minimum=0,
        maximum=1 - 1e-9,
        topic="loss",
    )
    label_smoothing: float = setting(
        0.0,
        "Labels 0 and 1 become half of this and 1 less half of it; not for dice and "
        "categorical_crossentropy.",
        minimum=0,
        maximum=0.9,
        topic="loss",
    )
    on_nan: str = setting(
        "stop",
        "When a loss or weight is not finite: stop, or go back to the last checkpoint and halve "
        "the rate, three times at most.",
        choices=("stop", "rewind"),
        topic="optimization",
        may_change=True,
    )
    early_stopping_patience: int = setting(
        5, "Epochs without a better validation PR-AUC after which a stage ends.", minimum=1,
        topic="optimization", may_change=True,
    )  # fmt: skip
    plateau_patience: int = setting(
        3, "Epochs without a better validation PR-AUC after which the rate is lowered.",
        minimum=1, topic="optimization", may_change=True,
    )  # fmt: skip
    plateau_factor: float = setting(
        0.5, "Factor by which the rate is lowered.", minimum=0.001, maximum=1,
        topic="optimization", may_change=True,
    )  # fmt: skip

    train_size: Optional[str] = setting(
        None,
        "Shorter side of the images that are trained on, in pixels, such as 128; or, growing over "
        "the epochs, the first and the last, such as 128:224. Default: as in the records, at which "
        "the network is always judged.",
        topic="input",
    )
    augment_on: str = setting(
        "auto", "Where images are augmented; auto: device on GPU and TPU, host on CPU.",
        choices=("auto", "host", "device"), topic="input",
    )  # fmt: skip
    cache: str = setting(
        CACHES[0], "Keep the records in memory: not at all, as JPEG, as pixels, or what fits.",
        choices=CACHES, topic="input", may_change=True,
    )  # fmt: skip
    data_service: Optional[str] = setting(
        None,
        "Address of a data service, grpc://host:port, whose machines (`cloudtf data-worker`) read, "
        "decode and augment the images for training. They see the same data_dir.",
        topic="input",
        may_change=True,
    )
    on_bad_record: str = setting(
        ON_BAD_RECORD[0],
        "Stop at a damaged record; or read all shards once at the start and leave out what is "
        "damaged, up to 1% of a split.",
        choices=ON_BAD_RECORD,
        topic="input",
        may_change=True,
    )
    train_metric_examples: int = setting(
        1000, "Training examples on which PR-AUC is measured each epoch; 0: none.", minimum=0,
        topic="input", may_change=True,
    )  # fmt: skip

    strategy: str = setting(
        "auto", "Hardware to train on.", choices=STRATEGIES, topic="hardware", may_change=True
    )
    tpu: str = setting(
        "local",
        "TPU name or grpc:// address; local on a TPU VM.",
        topic="hardware",
        may_change=True,
    )
    mixed_precision: bool = setting(
        False, "Compute in float16 on GPU and bfloat16 on TPU.", topic="hardware"
    )
    jit_compile: bool = setting(
        False, "Compile the train step with XLA (on a TPU it always is).", topic="hardware"
    )
    steps_per_execution: int = setting(
        1,
        "Steps run in one call of TensorFlow. A GPU is sent steps ahead whatever this is; it still "
        "saves Python's time between steps of a few milliseconds, and a TPU needs it.",
        minimum=1,
        topic="hardware",
        may_change=True,
    )

    find_rate: bool = setting(
        False,
        "In place of training, draw the loss against the learning rate into the run folder "
        "(find_rate.png and find_rate.csv) and suggest a rate.",
        topic="run",
        may_change=True,
    )
    seed: int = setting(
        0, "Of weights, order, augmentation and dropout.", minimum=0, maximum=2**32 - 1, topic="run"
    )
    deterministic: bool = setting(
        False,
        "The same results to the bit on the same machine with the same number of cores (with "
        "another number they differ at 1e-8 and grow apart); slower on GPU.",
        topic="run",
    )
    resume: str = setting(
        "auto", "Go on from the run folder's last checkpoint, or refuse to (never).",
        choices=("auto", "never"), topic="run", may_change=True,
    )  # fmt: skip
    checkpoint_every: str = setting(
        "500", "Steps between checkpoints, or minutes as in 10m; each epoch ends with one too.",
        topic="run", may_change=True,
    )  # fmt: skip
    max_minutes: Optional[float] = setting(
        None,
        "Save and stop after so long; run again to go on.",
        minimum=0,
        topic="run",
        may_change=True,
    )
    tensorboard: bool = setting(
        True,
        "Write for TensorBoard too: all numbers, curves, some images, settings and layers.",
        topic="run",
        may_change=True,
    )
    profile: Optional[str] = setting(
        None,
        "Trace steps with TensorFlow's profiler into the run's tensorboard folder: the first and "
        "the last, as in 100:110, counted from the start of the run.",
        topic="run",
        may_change=True,
    )

    def __post_init__(self) -> None:
        if self.learning_rate is None:
            rate = _RATE_OF_RANDOM if self.weights == "none" else _RATE
            object.__setattr__(self, "learning_rate", rate)  # As `flags.txt` and checkpoints have.
        super().__post_init__()
        if not re.fullmatch(r"[1-9]\d*m?", self.checkpoint_every):
            raise UsageError(
                f"{param(checkpoint_every=self.checkpoint_every)} must be a number of steps such "
                "as 500, or of minutes such as 10m."
            )
        first, last = self.profile_steps or (1, 1)
        if not 1 <= first <= last:
            raise UsageError(
                f"{param(profile=self.profile)} must be the first and the last step to trace, such "
                "as 100:110."
            )
        smallest, largest = self.train_sizes or (MINIMUM_SIZE, MINIMUM_SIZE)
        if not MINIMUM_SIZE <= smallest <= largest:
            raise UsageError(
                f"{param(train_size=self.train_size)} must be a number of pixels from "
                f"{MINIMUM_SIZE}, such as 128, or the first and the last such as 128:224."
            )
        if self.data_service is not None:
            parse_address("data_service", self.data_service)
        if self.weight_decay is not None and self.optimizer != "adamw":
            raise UsageError(
                f"{param(weight_decay=self.weight_decay)} is for {param(optimizer='adamw')}; give "
                "that, or leave it out."
            )
        self._check_loss()
        self._check_head()
        if self.soup is not None and not re.fullmatch(r"greedy|[2-9]|[1-9]\d", self.soup):
            raise UsageError(
                f"{param(soup=self.soup)} must be a number of epochs from 2 to 99, or greedy."
            )
        if self.stage_epochs == (0, 0):
            raise UsageError(
                f"{param('head_epochs')} and {param('epochs')} are both 0: there is nothing to "
                "train."
            )

    def _check_head(self) -> None:
        if self.feature_views not in (1, 2, 4):
            raise UsageError(f"{param(feature_views=self.feature_views)} must be 1, 2 or 4.")
        if self.feature_views != 1 and not self.fits_features:
            raise UsageError(
                f"{param(feature_views=self.feature_views)} is of {param(head='features')}."
            )
        if self.head == "features" and self.head_epochs is not None:
            raise UsageError(
                f"{param(head_epochs=self.head_epochs)} is of {param(head='epochs')}; leave one of "
                "them out."
            )
        if self.head == "features" and self.weights == "none":
            raise UsageError(
                f"{param(head='features')} needs a body that has learnt something; give "
                f"{param('weights')}, or leave it out."
            )
        if self.freeze_batch_norm and self.weights == "none":
            raise UsageError(
                f"{param(freeze_batch_norm=True)} is for a body that has learnt something; give "
                f"{param('weights')}, or leave it out."
            )

    def _check_loss(self) -> None:
        """Refuses settings that mean nothing beside the others."""
        owners = dict.fromkeys(("focal_gamma", "focal_alpha"), ("loss", "focal"))
        owners |= {
            f"asymmetric_{name}": ("loss", "asymmetric")
            for name in ("gamma_neg", "gamma_pos", "clip")
        }
        owners["effective_beta"] = ("positive_weights", "effective")
        for name, (owner, value) in owners.items():
            given = getattr(self, name)
            if given != getattr(type(self), name) and getattr(self, owner) != value:
                raise UsageError(f"{param(**{name: given})} is of {param(**{owner: value})} only.")
        for name in ("positive_weights", "label_smoothing"):
            given = getattr(self, name)
            if given != getattr(type(self), name) and self.loss not in CROSS_ENTROPIES:
                raise UsageError(
                    f"{param(**{name: given})} is not for {param(loss=self.loss)}; it is for "
                    f"{', '.join(CROSS_ENTROPIES)}."
                )

    @property
    def fits_features(self) -> bool:
        """Whether the head is fitted on features, which counts as an epoch, before all else."""
        if self.head is not None:
            return self.head == "features"
        return self.weights != "none" and self.head_epochs is None

    @property
    def images_per_step(self) -> int:
        """Images of one update, over all replicas."""
        return self.batch_size * self.accumulate_steps

    @property
    def stage_epochs(self) -> tuple[int, int]:
        """Epochs of the head stage and of the whole network."""
        if self.fits_features:
            return 1, self.epochs
        default = 0 if self.weights == "none" else 3
        return (default if self.head_epochs is None else self.head_epochs), self.epochs

    @property
    def train_sizes(self) -> Optional[tuple[int, int]]:
        """The shorter side of the images at first and at last; (0, 0) for what is none."""
        if self.train_size is None:
            return None
        found = re.fullmatch(r"(\d{1,4})(?::(\d{1,4}))?", self.train_size)
        return (int(found[1]), int(found[2] or found[1])) if found else (0, 0)

    @property
    def profile_steps(self) -> Optional[tuple[int, int]]:
        """First and last step to trace, from 1; (0, 0) for what cannot be understood."""
        if self.profile is None:
            return None
        found = re.fullmatch(r"(\d{1,18}):(\d{1,18})", self.profile)
        return (int(found[1]), int(found[2])) if found else (0, 0)
