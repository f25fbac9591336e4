"""cloudtf: train multi-label image classifiers from TFRecords with TensorFlow.

Importing this package is cheap: TensorFlow is imported when something needs it. It must be
imported before TensorFlow for the Keras 2 API to be chosen on TensorFlow 2.16 and later: then
`tf.keras` is the package tf_keras in the whole process, while `import keras` stays what it was.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Read by TensorFlow when it is imported. From 2.16 on the Keras 2 API is the package tf_keras; up
# to 2.15 it is its own, and asking for the package there without having it is an error.
if importlib.util.find_spec("tf_keras") is not None:
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
# What its C++ parts print is not for users: what matters reaches them as exceptions.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Public name -> module that defines it, imported at the first use.
_PUBLIC = {
    "ConvertConfig": "cloudtf.data.convert_config",
    "CompareConfig": "cloudtf.evaluation.compare",
    "EnsembleConfig": "cloudtf.evaluation.ensemble",
    "EvaluateConfig": "cloudtf.evaluation.evaluate",
    "ExportConfig": "cloudtf.model.export",
    "FitConfig": "cloudtf.fitting.config",
    "PostprocessConfig": "cloudtf.submission.postprocess",
    "PrAucCallback": "cloudtf.training.pr_auc_callback",
    "PredictConfig": "cloudtf.evaluation.predict",
    "PseudoLabelConfig": "cloudtf.evaluation.pseudo_label",
    "PreviewConfig": "cloudtf.evaluation.preview",
    "SynthesizeConfig": "cloudtf.synthetic.synthesize",
    "TrainConfig": "cloudtf.training.config",
    "UserError": "cloudtf.errors",
    "activation_maps": "cloudtf.evaluation.activation_maps",
    "build_model": "cloudtf.model.network",
    "choose_thresholds": "cloudtf.evaluation.thresholds",
    "convert": "cloudtf.data.convert",
    "compare": "cloudtf.evaluation.compare",
    "ensemble": "cloudtf.evaluation.ensemble",
    "evaluate": "cloudtf.evaluation.evaluate",
    "export": "cloudtf.evaluation.exporting",
    "find_rate": "cloudtf.training.find_rate",
    "fit": "cloudtf.fitting.fit",
    "get_loss": "cloudtf.model.losses",
    "history_frame": "cloudtf.evaluation.frames",
    "load_model": "cloudtf.model.saving",
    "masked": "cloudtf.model.unknown_labels",
    "open_dataset": "cloudtf.pipeline.dataset",
    "positive_weights": "cloudtf.model.class_weights",
    "postprocess": "cloudtf.submission.postprocess",
    "predict": "cloudtf.evaluation.predict",
    "predictions_frame": "cloudtf.evaluation.frames",
    "preview": "cloudtf.evaluation.preview",
    "pseudo_label": "cloudtf.evaluation.pseudo_label",
    "reporting_to": "cloudtf.reporter",
    "set_reporter": "cloudtf.reporter",
    "scores_frame": "cloudtf.evaluation.frames",
    "synthesize": "cloudtf.synthetic.synthesize",
    "thresholds_frame": "cloudtf.evaluation.frames",
    "train": "cloudtf.training.train",
}

__all__ = sorted([*_PUBLIC, "__version__"])


# The same for type checkers, which cannot follow the lookup.
if TYPE_CHECKING:
    from cloudtf.data.convert import convert as convert
    from cloudtf.data.convert_config import ConvertConfig as ConvertConfig
    from cloudtf.errors import UserError as UserError
    from cloudtf.evaluation.activation_maps import activation_maps as activation_maps
    from cloudtf.evaluation.compare import CompareConfig as CompareConfig
    from cloudtf.evaluation.compare import compare as compare
    from cloudtf.evaluation.ensemble import EnsembleConfig as EnsembleConfig
    from cloudtf.evaluation.ensemble import ensemble as ensemble
    from cloudtf.evaluation.evaluate import EvaluateConfig as EvaluateConfig
    from cloudtf.evaluation.evaluate import evaluate as evaluate
    from cloudtf.evaluation.exporting import export as export
    from cloudtf.evaluation.frames import history_frame as history_frame
    from cloudtf.evaluation.frames import predictions_frame as predictions_frame
    from cloudtf.evaluation.frames import scores_frame as scores_frame
    from cloudtf.evaluation.frames import thresholds_frame as thresholds_frame
    from cloudtf.evaluation.predict import PredictConfig as PredictConfig
    from cloudtf.evaluation.predict import predict as predict
    from cloudtf.evaluation.preview import PreviewConfig as PreviewConfig
    from cloudtf.evaluation.preview import preview as preview
    from cloudtf.evaluation.pseudo_label import PseudoLabelConfig as PseudoLabelConfig
    from cloudtf.evaluation.pseudo_label import pseudo_label as pseudo_label
    from cloudtf.evaluation.thresholds import choose_thresholds as choose_thresholds
    from cloudtf.fitting.config import FitConfig as FitConfig
    from cloudtf.fitting.fit import fit as fit
    from cloudtf.model.class_weights import positive_weights as positive_weights
    from cloudtf.model.export import ExportConfig as ExportConfig
    from cloudtf.model.losses import get_loss as get_loss
    from cloudtf.model.network import build_model as build_model
    from cloudtf.model.saving import load_model as load_model
    from cloudtf.model.unknown_labels import masked as masked
    from cloudtf.pipeline.dataset import open_dataset as open_dataset
    from cloudtf.reporter import reporting_to as reporting_to
    from cloudtf.reporter import set_reporter as set_reporter
    from cloudtf.submission.postprocess import PostprocessConfig as PostprocessConfig
    from cloudtf.submission.postprocess import postprocess as postprocess
    from cloudtf.synthetic.synthesize import SynthesizeConfig as SynthesizeConfig
    from cloudtf.synthetic.synthesize import synthesize as synthesize
    from cloudtf.training.config import TrainConfig as TrainConfig
    from cloudtf.training.find_rate import find_rate as find_rate
    from cloudtf.training.pr_auc_callback import PrAucCallback as PrAucCallback
    from cloudtf.training.train import train as train
else:

    def __getattr__(name: str) -> Any:
        if name not in _PUBLIC:
            raise AttributeError(f"module 'cloudtf' has no attribute {name!r}")
        try:
            value = getattr(importlib.import_module(_PUBLIC[name]), name)
        except ModuleNotFoundError as error:
            from cloudtf import errors

            raise errors.for_missing(error) from error
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return __all__
