"""Importing TensorFlow without Python's garbage collector.

The import makes some hundred thousand objects that all stay, and the collector goes through them
again and again: a quarter of its time, and then a part of building and tracing each network.
"""

from __future__ import annotations

import gc
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from types import ModuleType
from typing import Any, Optional


def import_tensorflow_quickly() -> None:
    """From now on, the collector rests while TensorFlow is imported, and leaves alone afterwards
    what was there by then. For a process that is a command: a program's objects are its own."""
    if "tensorflow" not in sys.modules:
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    """Finds TensorFlow, once."""

    def find_spec(
        self, name: str, path: Any, target: Optional[ModuleType] = None
    ) -> Optional[importlib.machinery.ModuleSpec]:
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    """Loads a module without the collector, as the module's own loader."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> Optional[ModuleType]:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        collects = gc.isenabled()
        gc.disable()
        try:
            self._loader.exec_module(module)
        finally:
            gc.freeze()
            if collects:
                gc.enable()
