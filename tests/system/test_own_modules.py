"""A process that is the program imports what Python would import, with less asking."""

from __future__ import annotations

import importlib
import os
import py_compile
import shutil
import sys
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from unittest.mock import Mock

import pytest

from orchestrator.system import own_modules

PACKAGE = "told_tales"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Of a package with a module `one` and a package `more` in it."""
    package = tmp_path / PACKAGE
    (package / "more").mkdir(parents=True)
    for name, text in (("__init__", ""), ("one", "said = 1\n"), ("more/__init__", "said = 2\n"), ("more/two", "said = 3\n")):
        (package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    own_modules.find_own_modules(PACKAGE)
    yield package
    forget()


def forget() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == PACKAGE]:
        del sys.modules[name]


def imported(name: str) -> ModuleType:
    forget()
    return importlib.import_module(f"{PACKAGE}.{name}")


def as_python_has_it(monkeypatch: pytest.MonkeyPatch, name: str) -> ModuleType:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "meta_path", sys.meta_path[1:])
        return imported(name)


@pytest.fixture
def asks_python(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Called whenever Python's own loader is asked for the code of `one`."""
    asked, get_code = Mock(), SourceFileLoader.get_code

    def ask(loader: SourceFileLoader, name: str) -> CodeType | None:
        if name == f"{PACKAGE}.one":
            asked()
        return get_code(loader, name)

    monkeypatch.setattr(SourceFileLoader, "get_code", ask)
    return asked


@pytest.mark.parametrize("name", ["one", "more", "more.two"])
def test_a_module_is_what_it_is_for_python(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, ours = as_python_has_it(monkeypatch, name), imported(name)
    assert type(ours.__loader__) is own_modules._Loader
    for each in ("__name__", "__file__", "__cached__", "__package__", "__path__", "said"):
        assert getattr(ours, each, None) == getattr(theirs, each, None), each
    assert str(folder) in str(ours.__file__)


def test_code_that_is_kept_is_taken_without_asking_python(folder: Path, asks_python: Mock) -> None:
    imported("one")
    assert asks_python.called, "the first import keeps it"
    asks_python.reset_mock()
    assert imported("one").said == 1
    assert folder
    asks_python.assert_not_called()


def kept(folder: Path) -> Path:
    return Path(own_modules._kept_code(str(folder / "one.py")))


def rewrite(folder: Path) -> None:
    """A source of another size at the same time."""
    before = (folder / "one.py").stat()
    (folder / "one.py").write_text("said = 1000\n")
    os.utime(folder / "one.py", ns=(before.st_atime_ns, before.st_mtime_ns))


def touch(folder: Path) -> None:
    """A source of the same size at another time."""
    (folder / "one.py").write_text("said = 5\n")
    os.utime(folder / "one.py", (1, 1))


def keep_by_hash(folder: Path) -> None:
    py_compile.compile(str(folder / "one.py"), invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)


def cut_short(folder: Path) -> None:
    kept(folder).write_bytes(kept(folder).read_bytes()[:10])


CHANGES = {
    "another size": (rewrite, 1000),
    "another time": (touch, 5),
    "kept by hash": (keep_by_hash, 1),
    "kept by half": (cut_short, 1),
    "gone": (lambda folder: kept(folder).unlink(), 1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_not_as_it_nearly_always_is_is_left_to_python(change: str, folder: Path, asks_python: Mock) -> None:
    imported("one")
    asks_python.reset_mock()
    changed, said = CHANGES[change]
    changed(folder)
    assert imported("one").said == said
    assert asks_python.called


def test_a_traceback_names_a_moved_file_as_it_is_now(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imported("one")
    shutil.copytree(folder, tmp_path / "moved" / PACKAGE)
    monkeypatch.syspath_prepend(tmp_path / "moved")
    moved = imported("one")
    code = moved.__loader__.get_code(moved.__name__)  # type: ignore[union-attr]
    assert code.co_filename == moved.__file__ == str(tmp_path / "moved" / PACKAGE / "one.py")


def test_a_module_that_came_later_is_found_and_one_that_is_not_there_is_none(folder: Path) -> None:
    imported("one")
    (folder / "late.py").write_text("said = 4\n")
    importlib.invalidate_caches()
    assert importlib.import_module(f"{PACKAGE}.late").said == 4
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(f"{PACKAGE}.never")
