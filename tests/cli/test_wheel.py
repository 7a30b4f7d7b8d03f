"""The wheel carries everything: installed into an empty environment it gives a working `orchestrate`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted(path.name for path in (ROOT / "configs" / "examples").iterdir() if path.suffix in (".toml", ".md", ".json"))


def run(*argv: str | Path, timeout: float, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False, **more)  # type: ignore[call-overload,no-any-return]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built from what git would ship, by the backend that pip would ask: no registry is needed."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "__pycache__", "dist", "build", "out"))
    built = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, timeout=120, cwd=source)
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_the_package_every_example_and_the_entry_module_and_no_more(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {"quickstart.toml", "cron.md"} <= set(EXAMPLES)
    assert {f"orchestrator/configs/examples/{name}" for name in EXAMPLES} <= set(names)
    for package, place in (("orchestrator", ""), ("workers", "orchestrator/")):
        modules = {f"{place}{path.relative_to(ROOT).as_posix()}" for path in (ROOT / package).rglob("*.py")}
        modules -= {"orchestrator/cli/orchestrate_entry.py"}  # lies beside the package
        assert {*modules, f"{place}{package}/py.typed"} <= set(names)
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith((".dist-info", ".data"))} == {"orchestrator", "orchestrate_entry.py"}
    assert [name for name in names if name.endswith(".data/data/share/man/man1/orchestrate.1")]


def test_the_entry_module_of_the_wheel_imports_the_package_beside_it(wheel: Path, tmp_path: Path) -> None:
    """Also where somebody else's package of the same name stands before it on the path of modules (`pip install --target`)."""
    site, project = tmp_path / "site", tmp_path / "project"
    zipfile.ZipFile(wheel).extractall(site)
    (project / "orchestrator").mkdir(parents=True)
    (project / "orchestrator" / "__init__.py").write_text("raise SystemExit('this is not ours')")
    tell = "lambda code: print(code, sys.modules['orchestrator'].__file__, sys.path[0], flush=True)"
    script = f"import os, sys; from orchestrate_entry import main; os._exit = {tell}; main()"
    argv = [sys.executable, "-c", script, "--version"]
    ran = run(*argv, timeout=60, cwd=project, env=os.environ | {"PYTHONPATH": f".:{site}"})
    assert ran.stderr == ""
    version, found = ran.stdout.splitlines()
    assert version.startswith("orchestrate ")
    # The path of modules is what it was, but for the folder that the program stands in.
    assert found == f"0 {site}/orchestrator/__init__.py {site}"


@pytest.mark.slow
@pytest.mark.usefixtures("home")
def test_the_wheel_works_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    made = run(sys.executable, "-m", "venv", tmp_path / "venv", timeout=120)
    assert made.returncode == 0, made.stderr
    binaries = tmp_path / "venv" / "bin"
    reached = run(binaries / "pip", "download", "--quiet", "--no-deps", "-d", tmp_path / "probe", "click", timeout=300)
    if reached.returncode != 0:
        pytest.skip(f"pip reaches no package index: {reached.stderr.strip().splitlines()[-1]}")
    installed = run(binaries / "pip", "install", "--quiet", wheel, timeout=300)
    assert installed.returncode == 0, installed.stderr

    project = tmp_path / "project"
    project.mkdir()

    def orchestrate(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run(binaries / "orchestrate", *arguments, timeout=60, cwd=project, env=environment)

    version = orchestrate("--version")
    assert version.returncode == 0, version.stderr
    begun = orchestrate("init", "quickstart")
    assert begun.returncode == 0, begun.stderr
    (jobs_file,) = project.glob("*.toml")
    (project / "one.py").write_text("print(1)\n")
    ran = orchestrate("run", jobs_file.name, "--quiet")
    assert ran.returncode == 0, ran.stderr
    summary = orchestrate("logs", jobs_file.name, "summary")
    assert "1 files compile" in summary.stdout, summary.stderr
