"""`creates`: whether the file that is there shows that its item is done, by what is recorded of the item's attempts."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from drivers.memory_records import MemoryRecords
from drivers.store_samples import ended

from orchestrator.attempts.context import ItemContexts
from orchestrator.attempts.items.selection import Selector
from orchestrator.attempts.loops import Loops
from orchestrator.attempts.preparer import NotStarted, Preparer, Ready
from orchestrator.store.records import Started, Status
from orchestrator.store.settings_records import Selection
from orchestrator.workers.files.creates import fingerprint
from orchestrator.workers.protocol import AttemptClass

OK, FAILED, LOST = AttemptClass.OK, AttemptClass.COMMAND_FAILED, AttemptClass.LOST


class Work:
    """A run of one job that creates `file`, by its temporary name or by the final one."""

    def __init__(self, file: Path, *others: Path, names_temporary: bool = True) -> None:
        self.file = file
        creates = json.dumps([str(each) for each in (file, *others)] if others else str(file))
        command = "make {{ creates }}" if names_temporary else f"make {file}"
        self._records = MemoryRecords(f'[jobs.work]\nattempts = 9\ncreates = {creates}\nshell = "{command}"\n')
        contexts = ItemContexts(self._records, {})
        jobs_file = self._records.jobs_file
        loops = Loops(self._records, contexts)
        self._preparer = Preparer(self._records, contexts, loops, jobs_file, Selector(Selection(), jobs_file.jobs))
        self._attempts = 0

    def attempt(self, attempt_class: AttemptClass, unproven: str = "") -> None:
        """An attempt has ended so."""
        self._attempts += 1
        status = Status.SUCCEEDED if attempt_class is OK else Status.FAILED
        record = ended(0, self._attempts, status, "work")
        outcome = msgspec.structs.replace(record.outcome, attempt_class=attempt_class, unproven=unproven)
        self._records.append(Started(job="work", index=0, attempt=self._attempts, sequence=self._attempts, worker=0, at=1.0))
        self._records.append(msgspec.structs.replace(record, outcome=outcome))

    @property
    def is_done(self) -> bool:
        """Whether the item is told done without another attempt."""
        found = self._preparer.prepare_attempt(self._records.job("work"), 0, self._attempts + 1)
        assert isinstance(found, Ready) or found.message.startswith(str(self.file))
        return isinstance(found, NotStarted)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "made"


def test_a_file_that_is_there_before_the_first_attempt_is_what_the_item_would_make(file: Path) -> None:
    work = Work(file)
    assert not work.is_done
    file.touch()
    assert work.is_done


def test_what_a_failed_attempt_left_proves_nothing_until_somebody_makes_it_anew(file: Path) -> None:
    work = Work(file)
    file.write_text("half")
    work.attempt(FAILED, fingerprint(str(file)))
    assert not work.is_done
    # What the failed attempt left stays unproven after one that nobody saw the end of: the supervisor carries it over.
    work.attempt(LOST, fingerprint(str(file)))
    assert not work.is_done
    file.write_text("whole, by a person")
    assert work.is_done


def test_a_file_that_came_after_a_failure_proves_what_any_file_does(file: Path) -> None:
    work = Work(file)
    work.attempt(FAILED)
    file.touch()
    assert work.is_done


def test_of_several_files_all_must_be_there_and_none_may_be_what_a_failure_left(file: Path) -> None:
    other = file.with_name("other")
    work = Work(file, other)
    file.touch()
    assert not work.is_done
    other.touch()
    assert work.is_done
    work.attempt(FAILED, f"- {fingerprint(str(other))}")
    assert not work.is_done
    other.write_text("whole, by a person")
    assert work.is_done


@pytest.mark.parametrize("names_temporary", [True, False])
def test_a_file_of_a_killed_attempt_is_whole_if_it_came_by_the_rename(file: Path, names_temporary: bool) -> None:
    work = Work(file, names_temporary=names_temporary)
    file.touch()
    work.attempt(LOST)
    assert work.is_done is names_temporary


def test_what_a_success_made_stays_made(file: Path) -> None:
    work = Work(file, names_temporary=False)
    file.touch()
    work.attempt(FAILED, fingerprint(str(file)))
    work.attempt(OK)
    assert work.is_done
