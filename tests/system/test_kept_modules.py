"""Modules that are imported together are what Python would import, from one file that holds as long as their sources do."""

from __future__ import annotations

import marshal
import os
import shutil
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pytest

from orchestrator.system import kept_modules, own_modules
from orchestrator.system.kept_modules import import_together

PACKAGE = "kept_tales"
SOURCES = {
    "__init__": "",
    "one": f"from {PACKAGE} import more\nfrom {PACKAGE}.more.two import said as theirs\n"
    f"from {PACKAGE}.bare.three import said as more\nsaid = theirs + more\n",
    "bare/__init__": "",
    "bare/three": "said = 1\n",
    "more/__init__": "from .two import said\n",  # it is done behind a module of its own
    "more/two": "said = 2\n",
    "late": "said = 4\n",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Of a package whose modules have been imported together once."""
    package = tmp_path / PACKAGE
    for name in ("more", "bare"):
        (package / name).mkdir(parents=True)
    for name, text in SOURCES.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", sys.meta_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    together()
    yield package
    forget()


@pytest.fixture
def read_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The modules whose code was looked for one by one."""
    assert folder
    names: list[str] = []
    read_code = own_modules._Loader._read_code

    def look(loader: own_modules._Loader, name: str) -> CodeType | None:
        names.append(name.removeprefix(f"{PACKAGE}."))
        return read_code(loader, name)

    monkeypatch.setattr(own_modules._Loader, "_read_code", look)
    return names


def forget() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == PACKAGE]:
        del sys.modules[name]


def together(*roots: str, had: str = "") -> ModuleType:
    """The module `one` in a process that is new, as far as the package is concerned, or had one of its modules already."""
    forget()
    sys.meta_path = [finder for finder in sys.meta_path if not isinstance(finder, own_modules.OwnModules)]
    import_module(PACKAGE)
    own_modules.find_own_modules(PACKAGE)
    if had:
        import_module(f"{PACKAGE}.{had}")
    import_together("tale", [f"{PACKAGE}.{root}" for root in roots or ("one",)])
    return sys.modules[f"{PACKAGE}.one"]


def kept(folder: Path) -> Path:
    [file] = folder.glob("__pycache__/tale.*.modules*")
    return file


def test_modules_come_from_one_file_and_are_what_they_are_for_python(read_alone: list[str]) -> None:
    names = ["one", "more", "more.two", "bare", "bare.three"]
    together()
    assert read_alone == []
    ours = [sys.modules[f"{PACKAGE}.{name}"] for name in names]
    assert sys.modules[PACKAGE].more.two is ours[2]
    forget()
    theirs = [import_module(f"{PACKAGE}.{name}") for name in names]
    assert sorted(read_alone) == sorted(names)
    for one, other in zip(ours, theirs, strict=True):
        for each in ("__name__", "__file__", "__cached__", "__package__", "__path__", "said"):
            assert getattr(one, each, None) == getattr(other, each, None), each
        assert type(one.__loader__) is type(other.__loader__)
        assert one.__spec__ == other.__spec__


def edit(folder: Path) -> None:
    """A source of the same size, a second later."""
    before = (folder / "more/two.py").stat()
    (folder / "more/two.py").write_text("said = 7\n")
    os.utime(folder / "more/two.py", ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))


def cut_short(folder: Path) -> None:
    kept(folder).write_bytes(kept(folder).read_bytes()[:-10])


CHANGES = {
    "an edited source": (edit, 8),
    "half a file": (cut_short, 3),
    "another Python": (lambda folder: kept(folder).write_bytes(b"\0" + kept(folder).read_bytes()[1:]), 3),
    "no file": (lambda folder: kept(folder).unlink(), 3),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_does_not_hold_is_made_anew(change: str, folder: Path, read_alone: list[str]) -> None:
    changed, said = CHANGES[change]
    changed(folder)
    assert together().said == said
    assert read_alone
    read_alone.clear()
    assert together().said == said
    assert read_alone == []


def test_a_copied_package_is_read_where_it_lies_now(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved_to = shutil.copytree(folder, tmp_path / "copied" / PACKAGE)
    monkeypatch.syspath_prepend(moved_to.parent)
    moved = together()
    assert moved.__file__ == str(moved_to / "one.py")
    [code] = [code for name, *_, code in marshal.loads(kept(moved_to).read_bytes()[4:]) if name == moved.__name__]
    assert code.co_filename == moved.__file__


TALE = """
class Tale:
    "Of a class."
    length: int
    async def tell(self, *parts: str, at: float = 1.0) -> None:
        "Of a function."
        assert parts, "nothing to tell"
"""


def test_functions_come_without_what_is_for_readers_and_all_else_comes_as_it_is(folder: Path) -> None:
    (folder / "one.py").write_text(TALE)
    plain = together().Tale  # by Python: the source is new
    bare = together().Tale
    assert (plain.tell.__doc__, plain.tell.__annotations__.keys()) == ("Of a function.", {"parts", "at", "return"})
    assert (bare.tell.__doc__, bare.tell.__annotations__, bare.tell.__kwdefaults__) == (None, {}, {"at": 1.0})
    assert (bare.__doc__, bare.__annotations__, plain.__annotations__) == ("Of a class.", {"length": int}, {"length": int})
    assert [line for *_, line in bare.tell.__code__.co_lines()][-1] == [line for *_, line in plain.tell.__code__.co_lines()][-1]
    with pytest.raises(AssertionError, match="nothing to tell"):
        bare.tell(bare()).send(None)


def test_only_what_lies_in_a_package_that_imports_it_is_looked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert folder
    looked_for: list[str] = []
    find_spec = own_modules.OwnModules.find_spec

    def look(finder: own_modules.OwnModules, name: str, *others: Any) -> ModuleSpec | None:
        looked_for.append(name.removeprefix(f"{PACKAGE}."))
        return find_spec(finder, name, *others)

    monkeypatch.setattr(own_modules.OwnModules, "find_spec", look)
    assert together().said == 3
    assert [name for name in looked_for if name != PACKAGE] == ["more.two"]


def test_a_process_that_was_forked_with_the_modules_reads_no_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert folder
    one = together()
    monkeypatch.setattr(kept_modules, "_read", lambda *_: pytest.fail("code was read that nobody runs"))
    import_together("tale", [f"{PACKAGE}.one"])
    assert sys.modules[f"{PACKAGE}.one"] is one


def test_what_a_process_needed_beside_it_is_in_the_file_from_then_on(read_alone: list[str]) -> None:
    together("one", "late")
    assert "late" in read_alone
    read_alone.clear()
    together("one", "late")
    assert read_alone == []


def test_a_command_that_had_a_package_already_leaves_a_file_that_serves_one_that_has_not(folder: Path) -> None:
    kept(folder).unlink()
    assert together(had="bare").said == 3
    assert together().said == 3


def test_a_file_that_cannot_be_kept_is_done_without(folder: Path, read_alone: list[str]) -> None:
    kept(folder).unlink()
    shutil.rmtree(folder / "__pycache__")
    (folder / "__pycache__").write_text("no folder")
    for _ in range(2):
        assert together().said == 3
        assert read_alone
        read_alone.clear()


def test_a_module_that_breaks_is_not_there_afterwards(folder: Path) -> None:
    (folder / "more/two.py").write_text("import sys\nif hasattr(sys, 'is_bad_day'): raise RuntimeError\nsaid = 2\n")
    together()
    sys.is_bad_day = True  # type: ignore[attr-defined]
    try:
        with pytest.raises(RuntimeError):
            together()
    finally:
        del sys.is_bad_day  # type: ignore[attr-defined]
    assert f"{PACKAGE}.more.two" not in sys.modules
    assert together().said == 3
