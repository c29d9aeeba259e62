"""Imports the user's functions, named `module:function`, with the job file's directory first on the import path."""

from __future__ import annotations

import importlib
import sys
import threading
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from samplejoin.core.user_errors import said
from samplejoin.errors import RefusedError, did_you_mean

#: top-level module imported from a job's directory -> that directory
_owners: dict[str, Path] = {}
#: held during an import, because sys.path and sys.modules belong to the whole process
_importing = threading.RLock()


def find(name: str, base_dir: Path) -> Any:
    """Returns what `module:attribute` names. Raises RefusedError if it cannot be imported or does not exist."""
    module_name, _, attribute = name.partition(":")
    module = import_module(module_name, base_dir)
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            public = [n for n in vars(found) if not n.startswith("_")] if hasattr(found, "__dict__") else []
            where = getattr(module, "__file__", None) or module_name
            raise RefusedError(
                f"{name}: {where} has no {part!r}", did_you_mean(part, public) or f"define {part} in {module_name}"
            )
        found = getattr(found, part)
    return found


def find_function(name: str, base_dir: Path) -> Any:
    """Returns a callable as `find` does. Raises RefusedError also for anything else."""
    found = find(name, base_dir)
    if not callable(found):
        raise RefusedError(f"{name} is not a function but {type(found).__name__}")
    return found


def import_module(name: str, base_dir: Path) -> ModuleType:
    """Imports a module, from the job's directory if it is there. Raises RefusedError if the import fails."""
    top = name.partition(".")[0]
    base_dir = base_dir.resolve()
    local = (base_dir / f"{top}.py").is_file() or any((base_dir / top).glob("*.py"))
    with _importing:
        if local:
            _make_room(top, base_dir)
        _first_on_path(base_dir)
        try:
            module = importlib.import_module(name)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a user's module may raise anything while it is imported
            raise RefusedError(*_import_failure(name, base_dir, error)) from error
        if local:
            _owners[top] = base_dir
        return module


def _make_room(top: str, base_dir: Path) -> None:
    """Unloads a module of another job that has the same name. Raises RefusedError if it is not from a job."""
    if top in sys.stdlib_module_names:
        raise RefusedError(f"{base_dir / top} has the name of a module of Python's standard library", "rename it")
    known = sys.modules.get(top)
    if known is None or _is_in(known, base_dir):
        return
    if top not in _owners:
        raise RefusedError(
            f"{base_dir / top} has the name of a module that is already imported: {known.__file__}", "rename it"
        )
    for name in [n for n in sys.modules if n == top or n.startswith(f"{top}.")]:
        del sys.modules[name]


def _is_in(module: ModuleType, base_dir: Path) -> bool:
    places = [module.__file__] if module.__file__ else list(getattr(module, "__path__", ()))
    return any(Path(place).resolve().is_relative_to(base_dir) for place in places)


def _first_on_path(base_dir: Path) -> None:
    entry = str(base_dir)
    if sys.path[:1] != [entry]:
        sys.path[:] = [entry, *(p for p in sys.path if p != entry)]
        importlib.invalidate_caches()


def _import_failure(name: str, base_dir: Path, error: BaseException) -> tuple[str, str | None]:
    """Returns message and hint of a failed import: a missing module, or the line of the user's code that failed."""
    if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
        modules = [p.stem for p in base_dir.glob("*.py")]
        return f"there is no module {name!r}", did_you_mean(name, modules) or f"looked in {base_dir} first"
    if isinstance(error, SyntaxError):
        return f"{name} cannot be imported: {error.filename}:{error.lineno}: SyntaxError: {error.msg}", None
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<frozen")]
    users = [f for f in frames if Path(f.filename).is_relative_to(base_dir)] or frames[2:]
    place = f"{users[-1].filename}:{users[-1].lineno}: " if users else ""
    return f"{name} cannot be imported: {place}{said(error)}", None
