"""The shipped files are found beside the package in a checkout and inside it in a wheel."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import UserError
from orchestrator.system import shipped_files as shipped


def test_a_checkout_finds_its_own_examples() -> None:
    root = Path(__file__).resolve().parents[2]
    assert shipped.examples_folder() == root / "configs" / "examples"
    assert (shipped.examples_folder() / "quickstart.toml").is_file()


@pytest.mark.parametrize("where", ["site/orchestrator/configs", "site/configs"])
def test_both_places_are_looked_at(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "_PACKAGE", tmp_path / "site" / "orchestrator")
    (tmp_path / where / "examples").mkdir(parents=True)
    assert shipped.examples_folder() == tmp_path / where / "examples"


def test_the_wheels_own_files_win_over_a_stranger_beside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "_PACKAGE", tmp_path / "site" / "orchestrator")
    for where in ("site/orchestrator/configs", "site/configs"):
        (tmp_path / where / "examples").mkdir(parents=True)
    assert shipped.examples_folder() == tmp_path / "site" / "orchestrator" / "configs" / "examples"


def test_an_installation_without_them_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "_PACKAGE", tmp_path / "orchestrator")
    with pytest.raises(UserError, match="lacks its configs/examples folder"):
        shipped.examples_folder()
