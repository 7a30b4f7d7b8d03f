"""How the output of an agent CLI is read: data out of its profile, which travels to the worker inside `Start`.

A stream is a list of events: of a JSON stream each line that is a JSON object, of a text stream each line. What is not
named by a rule is ignored; what is not of the type that a rule expects counts as not told.

A path names a field of an event: keys joined by dots. `*` stands for every element of a list and every value of a table; a
string on the way that holds JSON is looked into.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Format = Literal["json", "text"]
"""Of a stream; `workers.agents.formats` says which reader reads it."""

Scalar = str | int | float | bool | None

EventMeaning = Literal[
    "success",
    "failure",
    "error",
    "retry",
    "progress",
    "begin",
    "task_opened",
    "task_closed",
    "tasks_open",
    "trouble",
    "mended",
]
"""What an event says of the attempt.

`success`, `failure`: the terminal event. `error`: it failed, and the CLI ends by itself now. `retry`: a call failed, and the
CLI would try again by itself. `progress`: a call went well, so what was retried before it is past. `begin`: work goes on, so
a terminal event before it was none; `progress` and `retry` behind a success mean that, too.

`task_opened`, `task_closed`: of the work that goes on in the background, for which the CLI may wait behind its terminal event;
`tasks_open`: these and no others are open. `task` is taken from each; `task_opened` without one says that some task is at work.
`trouble`: something went wrong that a success may follow, and that is told with it, in `words`, once for each `task` that is
taken; `mended`: these words are past.
"""

LineMeaning = Literal["error", "retry", "progress", "answer_begins", "answer_ends"]
"""What a line of text says: as above; the lines between `answer_begins` and `answer_ends` are the answer."""

TakeName = Literal[
    "session",
    "model",
    "answer",
    "answer_part",
    "structured",
    "message",
    "denials",
    "turns",
    "cost_usd",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "resets_at",
    "resets_in",
    "task",
]
"""What is taken from an event. `answer` replaces the answer so far, `answer_part` is put behind it. `resets_at` is a time
(seconds or milliseconds since the epoch, or ISO 8601), `resets_in` seconds from now. `task`: the names of tasks."""


class EventRule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one kind of JSON event means, and what is taken from it. Every rule that fits an event is applied, in order.

    It fits if each path of `where` has one of its values, each of `present` is there, each of `absent` is missing or null,
    each of `match` is a string in which the pattern is found, and not all of `unless` (if it has any) have their values.
    `take`: a name to its paths; for a number the paths are added (one that begins with "-" is taken off, and the first must
    be there), else the first that is there counts. `adds`: numbers of this event add to those told before, instead of taking
    their place. `parts_answer`: the next `answer_part` begins a new answer.

    Of a failure: its message is taken, or it is `words`. `class_name` is its class for certain; else the class rules are asked
    with its message; then the maps of `classes` (path to value to class), then `status`, the path of an HTTP status.
    """

    where: dict[str, list[Scalar]] = {}
    unless: dict[str, list[Scalar]] = {}
    present: list[str] = []
    absent: list[str] = []
    match: dict[str, str] = {}
    means: EventMeaning | None = None
    take: dict[TakeName, list[str]] = {}
    adds: bool = False
    parts_answer: bool = False
    words: str | None = None
    class_name: str | None = None
    classes: dict[str, dict[str, str]] = {}
    status: str | None = None


class LineRule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a line of text means: of stdout where the format is text, or of stderr.

    Its named groups are taken as the names of `TakeName` say; numbers ("1.2k") add up. `gathers`: the CLI breaks a message over
    several lines, so its message goes on to the next line that a rule knows; else it is the line.
    """

    pattern: str
    stream: Literal["stdout", "stderr"] = "stdout"
    means: LineMeaning | None = None
    gathers: bool = False
    class_name: str | None = None


class ClassRule(msgspec.Struct, frozen=True, kw_only=True):
    """A message of a failure in which `pattern` is found (case does not count) is of `class_name`. The first rule wins."""

    pattern: str
    class_name: str


class Reading(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that is known of one CLI's output.

    `exit_codes` and `statuses` (HTTP) map numbers, as text, to classes. `resets`: patterns for the time at which a limit ends,
    their groups named as `workers.agents.reset_times` says. `patience`: how many failed calls in a row of a class the CLI may
    retry by itself before that is a finding; 1 where nothing is said. `is_usage_cumulative`, `is_cost_cumulative`: what a resumed
    session tells includes what it told before. `needs_check`: without a check nobody can tell that it succeeded.
    """

    format: Format = "json"
    events: list[EventRule] = []
    lines: list[LineRule] = []
    classes: list[ClassRule] = []
    statuses: dict[str, str] = {}
    exit_codes: dict[str, str] = {}
    resets: list[str] = []
    patience: dict[str, int] = {}
    is_usage_cumulative: bool = False
    is_cost_cumulative: bool = False
    needs_check: bool = False
