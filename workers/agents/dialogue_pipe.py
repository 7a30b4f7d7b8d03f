"""The stdin of an agent that is spoken with while it runs.

Promise: no write blocks the watch. What the agent does not read yet waits here, in order; an agent that closed its stdin is told
nothing more.
"""

from __future__ import annotations

import os

from .stream_reader import Dialogue


class DialoguePipe:
    """Says to an agent what `dialogue` says. `their_end` becomes the agent's stdin; its owner closes it. Raises OSError."""

    def __init__(self, dialogue: Dialogue) -> None:
        self.their_end, self._our_end = os.pipe()
        os.set_blocking(self._our_end, False)
        self._dialogue = dialogue
        self._unsent = bytearray()
        self._is_open = True

    def write_due(self) -> bool:
        """Write what the agent is to be told by now, as far as it takes it; close when nothing follows. Whether some is left."""
        if not self._is_open:
            return False
        self._unsent += self._dialogue.take_due()
        try:
            while self._unsent:
                del self._unsent[: os.write(self._our_end, self._unsent)]
        except BlockingIOError:
            return True
        except BrokenPipeError:
            # The agent closed its stdin: no reason to end it, for it may go on without being told anything.
            self.close()
            return False
        if self._dialogue.is_over:
            self.close()
        return False

    def close(self) -> None:
        """The agent reads the end of its stdin."""
        if self._is_open:
            self._is_open = False
            os.close(self._our_end)
