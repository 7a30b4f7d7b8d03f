"""Importing many of our own modules at once: the code of all of them is read from one file, each behind all that it imports.

Python reads a file for each module, and looks for each with all its finders: of the three hundred modules of a run that was a
tenth of what the run costs to start. Promise: what is imported is what Python would import. The file holds as long as each source
has the time and the size that it had; where one has not, or there is no file, Python imports, and the file is made for the next
time.
Functions come without their annotations and docstrings, for which nothing asks in a process that is the program: a tenth of it.
"""

from __future__ import annotations

import marshal
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from importlib.machinery import SourceFileLoader
from importlib.util import MAGIC_NUMBER
from types import CodeType
from typing import TYPE_CHECKING, TypeAlias

from orchestrator.system.own_modules import OwnModules

if TYPE_CHECKING:
    import ast

_Kept: TypeAlias = tuple[str, bool, int, int, CodeType]
"""A module: its name, whether it is a package, the source's time in ns and its size, its code."""


def import_together(name: str, roots: Sequence[str]) -> None:
    """Import the modules `roots` and what they import, if this process finds its modules itself. `name`: of the file."""
    own = next((finder for finder in sys.meta_path if isinstance(finder, OwnModules)), None)
    # A process that was forked from one that has them reads no code that it would not run.
    if own is None or all(root in sys.modules for root in roots):
        return
    file = f"{own.folder}/__pycache__/{name}.{sys.implementation.cache_tag}.modules"
    before = len(own.done)
    kept = _read(file, own)
    own.known.update((module, code) for module, _, _, _, code in kept if module not in sys.modules)
    # In this order each finds what it imports. One whose package is not there yet is left to Python, as it is to import that.
    for module, is_package, *_ in kept:
        if module in own.known and module.rpartition(".")[0] in sys.modules:
            own.run_known(module, is_package=is_package)
    for root in roots:
        import_module(root)
    # Another command may have made the file, which had some of the modules already.
    wanted = {module for module, *_ in kept}
    if sys.dont_write_bytecode or wanted.issuperset(own.done[before:]):
        return
    wanted.update(own.done[before:])
    # Where nothing can be written, each start costs what it would cost without.
    with suppress(OSError):
        _write(file, own, [module for module in own.done if module in wanted])


def _read(file: str, own: OwnModules) -> list[_Kept]:
    """What `file` has; nothing, if not all of it holds."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.read(descriptor, os.fstat(descriptor).st_size)
        finally:
            os.close(descriptor)
        if not data.startswith(MAGIC_NUMBER):
            return []
        kept: list[_Kept] = marshal.loads(memoryview(data)[len(MAGIC_NUMBER) :])
        for name, is_package, time, size, code in kept:
            path = own.file_of(name, is_package)
            source = os.stat(path)
            # Of files that were moved, a traceback would name where they were.
            if (source.st_mtime_ns, source.st_size, code.co_filename) != (time, size, path):
                return []
    except (OSError, EOFError, ValueError, TypeError):
        return []
    return kept


def _write(file: str, own: OwnModules, names: Sequence[str]) -> None:
    """Raises OSError."""
    temporary = f"{file}.{os.getpid()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        with open(descriptor, "wb") as written:
            written.write(MAGIC_NUMBER + marshal.dumps([_kept(own, name) for name in names]))
            written.flush()
            # Survives power loss whole, or not at all: code is not looked at before it is run.
            os.fsync(descriptor)
        os.replace(temporary, file)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def _kept(own: OwnModules, name: str) -> _Kept:
    """Of a module that is imported. Raises OSError if its source is gone."""
    spec = sys.modules[name].__spec__
    assert spec is not None, "one of ours"
    assert isinstance(spec.loader, SourceFileLoader), "one of ours"
    is_package = spec.submodule_search_locations is not None
    path = own.file_of(name, is_package)
    # Looked at before it is read: what the file had before a change does not hold.
    source = os.stat(path)
    code = compile(_bare(spec.loader.get_data(path)), path, "exec", dont_inherit=True)
    return name, is_package, source.st_mtime_ns, source.st_size, code


def _bare(source: bytes) -> ast.Module:
    """A module whose functions have no annotations and no docstrings."""
    import ast

    module = ast.parse(source)
    for each in ast.walk(module):
        if isinstance(each, ast.arg):
            each.annotation = None
        elif isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
            each.returns = None
            if ast.get_docstring(each, clean=False) is not None:
                each.body[0] = ast.copy_location(ast.Pass(), each.body[0])
    return module
