"""The files that a jobs file needs besides itself: profiles beside it, prompts, schemas, files of child runs.

Promise: what these say when a run is made holds for the run to its end, whoever writes into the folder meanwhile: an agent that
works there cannot put another program in the place of the next one. `resume --update` takes them as they are then.

It refuses to handle: a file whose name is a template, which is read when its item starts; programs and scripts that a job names.
"""

from __future__ import annotations

import os

import msgspec

from orchestrator.system.named_files import read_named

_SUFFIX = ".toml"


class KeptFiles(msgspec.Struct, frozen=True):
    """What was read when a run was made. All paths are as they were asked for.

    `contents`: of each file. `real_paths`: where the links of a child's path led. `folders`: those whose profiles were read; what
    else is found in them now was put there later.
    """

    contents: dict[str, bytes] = {}
    real_paths: dict[str, str] = {}
    folders: list[str] = []


NOTHING_KEPT = KeptFiles()


class Files:
    """Reads files as they are kept, and others from the disk."""

    def __init__(self, kept: KeptFiles = NOTHING_KEPT) -> None:
        self._kept = kept

    def read(self, path: str) -> bytes:
        """All bytes of a file. Raises OSError as `read_named` does."""
        content = self._kept.contents.get(path)
        return content if content is not None else read_named(path)

    def real_path(self, path: str) -> str:
        """Where the links in `path` lead."""
        return self._kept.real_paths.get(path) or os.path.realpath(path)

    def is_profile(self, path: str) -> bool:
        """Whether there is a profile at that path; also what is no file, as a folder: it is told as that when it is read."""
        is_kept = os.path.dirname(path) in self._kept.folders
        return path in self._kept.contents if is_kept else os.path.lexists(path)

    def profile_paths(self, folder: str) -> list[str]:
        """The profiles (`NAME.toml`) in a folder, in order; none if there is no such folder."""
        if folder in self._kept.folders:
            return sorted(path for path in self._kept.contents if os.path.dirname(path) == folder and path.endswith(_SUFFIX))
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            return []
        return [os.path.join(folder, name) for name in names if name.endswith(_SUFFIX)]


FROM_DISK = Files()


class TakenFiles(Files):
    """Reads files for a run that is to be made, and remembers what they say. `kept`: of the run that starts it."""

    def __init__(self, kept: KeptFiles = NOTHING_KEPT) -> None:
        super().__init__(kept)
        self._contents: dict[str, bytes] = {}
        self._real_paths: dict[str, str] = {}
        self._folders: list[str] = []

    def read(self, path: str) -> bytes:
        """See `Files`. A file is read once."""
        if path not in self._contents:
            self._contents[path] = super().read(path)
        return self._contents[path]

    def real_path(self, path: str) -> str:
        """See `Files`."""
        if path not in self._real_paths:
            self._real_paths[path] = super().real_path(path)
        return self._real_paths[path]

    def take_profiles(self, folder: str) -> None:
        """Remember all profiles in the folder, and that there are no others: a name may be known only when its item starts."""
        if folder in self._folders:
            return
        for path in self.profile_paths(folder):
            try:
                self.read(path)
            except OSError:
                # Nobody can use it now, and nobody shall later. If a job names it, that is told where the name is checked.
                continue
        self._folders.append(folder)

    def taken(self, jobs_file: str) -> KeptFiles | None:
        """All that was read but for the jobs file itself, of which the run has a copy of its own; None: nothing."""
        contents = {path: content for path, content in self._contents.items() if path != jobs_file}
        real_paths = {path: real for path, real in self._real_paths.items() if path != jobs_file}
        if not contents and not real_paths and not self._folders:
            return None
        return KeptFiles(contents, real_paths, self._folders)
