"""How a process that is the program finds its own modules: by the names in their folders, and their code where Python keeps it.

Python asks each of its finders for each module, and the disk some ten times: of the three hundred modules of a run that is a
thirteenth of what the run costs to start. Promise: what is imported is what Python would import. Whatever is not as it is nearly
always (no code kept yet, a newer source, code that was compiled elsewhere, another form of it) is left to Python.
"""

from __future__ import annotations

import marshal
import os
import sys
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import MAGIC_NUMBER
from types import CodeType, ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_HEADER_BYTES = 16
_BY_TIME = MAGIC_NUMBER + bytes(4)
"""How kept code begins that holds for a source of one time and size, which follow."""


def find_own_modules(package: str) -> None:
    """Have all that is imported below `package` from now on be found in this way."""
    # With another place or form of kept code Python does it.
    if sys.pycache_prefix is None and not sys.flags.optimize:
        sys.meta_path.insert(0, OwnModules(package))


class OwnModules:
    """What `sys.meta_path` holds.

    `known`: the code of modules that are not imported yet, where somebody has read it already. `done`: the names of those that
    are imported, each behind all that it imports.
    """

    def __init__(self, package: str) -> None:
        self.known: dict[str, CodeType] = {}
        self.done: list[str] = []
        self._package = package
        self._prefix = f"{package}."
        self._names: dict[str, frozenset[str]] = {}

    def find_spec(self, name: str, path: Sequence[str] | None = None, _target: ModuleType | None = None) -> ModuleSpec | None:
        """As `importlib` asks it; None: others may know the module."""
        if not name.startswith(self._prefix) or not path:
            return None
        folder, last = path[0], name.rpartition(".")[2]
        if (names := self._names.get(folder)) is None:
            try:
                names = self._names[folder] = frozenset(os.listdir(folder))
            except OSError:
                return None
        if f"{last}.py" in names:
            file, is_package = f"{folder}/{last}.py", False
        elif last in names and os.path.isfile(f"{folder}/{last}/__init__.py"):
            file, is_package = f"{folder}/{last}/__init__.py", True
        else:
            return None
        return self._spec(name, file, is_package)

    def run_known(self, name: str, *, is_package: bool) -> None:
        """Import a module whose code is known, as Python would, in few of its steps. Its package is imported, and it is not."""
        file = self.file_of(name, is_package)
        spec = self._spec(name, file, is_package)
        module = sys.modules[name] = ModuleType(name)
        module.__spec__, module.__loader__, module.__package__, module.__file__ = spec, spec.loader, spec.parent, file
        module.__dict__["__cached__"] = spec.cached
        if spec.submodule_search_locations is not None:
            module.__path__ = spec.submodule_search_locations
        try:
            exec(self.known.pop(name), module.__dict__)
        except BaseException:
            sys.modules.pop(name, None)
            raise
        self.done.append(name)
        package, _, last = name.rpartition(".")
        setattr(sys.modules[package], last, module)

    def _spec(self, name: str, file: str, is_package: bool) -> ModuleSpec:
        spec = ModuleSpec(name, _Loader(name, file, self), origin=file, is_package=is_package)
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(file.rpartition("/")[0])
        spec.has_location = True
        spec.cached = _kept_code(file)
        return spec

    @property
    def folder(self) -> str:
        """Of the package, which is imported."""
        return str(sys.modules[self._package].__path__[0])

    def file_of(self, name: str, is_package: bool) -> str:
        """The source of the module `name`, which is below the package."""
        below = name.removeprefix(self._prefix).replace(".", "/")
        return f"{self.folder}/{below}/__init__.py" if is_package else f"{self.folder}/{below}.py"


class _Loader(SourceFileLoader):
    def __init__(self, fullname: str, path: str, own: OwnModules) -> None:
        super().__init__(fullname, path)
        self._own = own

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        self._own.done.append(module.__name__)

    def get_code(self, fullname: str) -> CodeType | None:
        """What is known, or kept and of this source; else as Python does it, which keeps it for the next time."""
        return self._own.known.pop(fullname, None) or self._read_code(fullname)

    def _read_code(self, fullname: str) -> CodeType | None:
        path = str(self.path)
        try:
            descriptor = os.open(_kept_code(path), os.O_RDONLY | os.O_CLOEXEC)
            try:
                data = os.read(descriptor, os.fstat(descriptor).st_size)
            finally:
                os.close(descriptor)
            source = os.stat(path)
        except OSError:
            return super().get_code(fullname)
        wanted = _BY_TIME + _four_bytes(int(source.st_mtime)) + _four_bytes(source.st_size)
        if data[:_HEADER_BYTES] != wanted:
            return super().get_code(fullname)
        try:
            code = marshal.loads(memoryview(data)[_HEADER_BYTES:])
        except (EOFError, ValueError, TypeError):  # Python knows better words for it
            return super().get_code(fullname)
        # Of files that were moved, a traceback would name where they were.
        return code if isinstance(code, CodeType) and code.co_filename == path else super().get_code(fullname)


def _kept_code(file: str) -> str:
    folder, _, name = file.rpartition("/")
    return f"{folder}/__pycache__/{name.removesuffix('.py')}.{sys.implementation.cache_tag}.pyc"


def _four_bytes(number: int) -> bytes:
    return (number & 0xFFFF_FFFF).to_bytes(4, "little")
