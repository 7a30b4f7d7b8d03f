"""The output of a check: both of its streams in one file, of which the end is kept, for there a test run tells what failed.

Memory and disk stay bounded whatever it writes; what the agent's next attempt is told of it fits a prompt.
"""

from __future__ import annotations

import os

from .files.capture import CaptureFile
from .wording import size_in_words

KEPT_BYTES = 64 * 1024
"""How much of its end is kept."""


class CheckOutput(CaptureFile):
    """A capture that loses its beginning, and not its end, when there is too much of it."""

    def cut_to(self, limit: int) -> int:
        """Drop all but the end once there are more than `limit` bytes; returns how many bytes may still come."""
        limit = max(limit, 2 * KEPT_BYTES)
        size = self.size()
        if size > limit:
            self._keep_end(size, KEPT_BYTES)
            size = KEPT_BYTES
        return limit - size

    def _shape(self, descriptor: int, limit: int) -> None:
        size = self.size()
        kept = min(limit, KEPT_BYTES)
        if size > kept:
            self._keep_end(size, kept)
        if self.dropped:
            end = os.pread(descriptor, kept, 0)
            # From the first whole line on: half a line, or half a character, tells nothing.
            whole = end[end.find(b"\n") + 1 :] or end
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"[orchestrate: only the last {size_in_words(len(whole))} are kept]\n".encode() + whole)

    def _keep_end(self, size: int, kept: int) -> None:
        """What is written in between is dropped, too: it stands where the file is cut."""
        end = self.read_at(size - kept, kept)
        assert self._descriptor is not None
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, end)
        self.dropped += size - kept
