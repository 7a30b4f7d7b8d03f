"""The entry point: it calls a command, and turns whatever the command raises into words on stderr and an exit code.

A module that some command does not need is imported only where it is needed: `orchestrate --version` has to be quick.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from orchestrator.cli.invocation import Invocation

_TRACEBACK_VARIABLE = "ORCHESTRATE_TRACEBACK"
_SUPERVISING = ("run", "child", "each", "resume", "retry")
"""The commands that go on with a run."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command line (default: this process's); its exit code (design section 7)."""
    if arguments is None:
        # What is imported stays: looking through it for garbage at each 700 objects was a thirtieth of a start.
        gc.set_threshold(100_000)
        from orchestrator.system.module_path import forget_current_folder

        forget_current_folder()  # before all else is imported
        from orchestrator.system.own_modules import find_own_modules

        find_own_modules("orchestrator")
    from orchestrator.cli.invocation import Invocation

    # Every error of a command ends here, as words on stderr and an exit code.
    words = sys.argv[1:] if arguments is None else arguments
    invocation = Invocation()
    try:
        code = _run(words or ["--help"], invocation)
        _flush_stdout()
    except BrokenPipeError:
        from orchestrator.cli.output import silence

        # The reader of our stdout has what it wanted.
        silence()
        code = 0
    except KeyboardInterrupt:
        code = 130
    except OSError as error:
        code = _tell(_of_stdout() or error, invocation)
    except Exception as error:
        code = _tell(error, invocation)
    _settle_stderr()
    # Python looks through all that is loaded once more as it ends, and then lets go of it anyway.
    if arguments is None:
        gc.freeze()
    return code


def end_process(code: int) -> NoReturn:
    """End this process. Python would first take apart all that is loaded, which was a thirtieth of what a run costs."""
    threading = sys.modules.get("threading")
    # Python waits for a thread that still works.
    if threading is None or threading.active_count() == 1:
        try:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
        except (OSError, ValueError):
            sys.exit(code)  # as Python tells it
        os._exit(code)
    sys.exit(code)


def _run(words: list[str], invocation: Invocation) -> int:
    # Alone it needs no reader of words, which costs more than all else: scripts ask it often.
    if words == ["--version"]:
        from orchestrator import __version__
        from orchestrator.cli.output import write_bytes

        write_bytes(f"orchestrate {__version__}\n".encode())
        return 0

    from orchestrator.system.lean_imports import load_lean, load_lean_for_a_run

    load_lean()
    if words[0] in _SUPERVISING:
        load_lean_for_a_run()
    from orchestrator.cli.plain_words import plain_call

    if (call := plain_call(words)) is not None:
        return call(invocation)
    import click

    from orchestrator.cli.group import orchestrate

    try:
        # Not by `orchestrate.main()`, which turns a broken pipe into exit 1 and Ctrl-C into "Aborted!".
        with orchestrate.make_context("orchestrate", list(words), obj=invocation) as context:
            return int(orchestrate.invoke(context) or 0)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.Abort:
        raise KeyboardInterrupt from None
    except click.UsageError as mistake:
        # In our own words: click would print the usage, and no `orchestrate:` before the mistake.
        from orchestrator.errors import UserError

        path = mistake.ctx.command_path if mistake.ctx is not None else "orchestrate"
        raise UserError(mistake.format_message(), f"see {path} --help") from None


def _flush_stdout() -> None:
    if sys.stdout is not None:
        from orchestrator.cli.output import finish

        finish()


def _of_stdout() -> Exception | None:
    """What stdout says of what it was given and did not take: help is written by click, which raises the bare error."""
    from orchestrator.cli.output import OutputError, flush

    try:
        flush()
    except (OutputError, BrokenPipeError) as error:
        return error
    return None


def _settle_stderr() -> None:
    """Drop what stderr does not take, as on a full disk: Python tries once more at its exit, and makes 120 of our exit code."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    except ValueError:  # somebody has closed it
        pass


def _tell(error: Exception, invocation: Invocation) -> int:
    from orchestrator.cli.output import OutputError, silence
    from orchestrator.errors import ExitCode, JobsFileError, UserError
    from orchestrator.system.wording import error_in_words, shown_message
    from orchestrator.views.outlet import Outlet

    stderr = Outlet(sys.stderr)
    # A stdout that failed once would fail again when Python closes it, with a traceback of its own.
    if isinstance(error, OutputError):
        silence()
    # The user's mistake: all of it at once, each on a line, with a hint where there is one.
    if isinstance(error, UserError):
        stderr.line(f"orchestrate: {shown_message(error.message)}")
        if isinstance(error, JobsFileError):
            for line in _mistake_lines([shown_message(problem) for problem in error.problems]):
                stderr.line(line)
        if error.hint:
            stderr.line(f"  {shown_message(error.hint)}")
        return int(error.exit_code)
    # Ours: the traceback is kept, not shown.
    stderr.line(f"orchestrate: internal error: {shown_message(error_in_words(error))} ({_keep_traceback(error, invocation)})")
    return int(ExitCode.BUG)


def _mistake_lines(problems: list[str]) -> list[str]:
    from orchestrator.cli.supervising import is_step_of_actions

    if not is_step_of_actions():
        return [f"  {problem}" for problem in problems]
    from orchestrator.views.actions_lines import mistake_commands

    return list(mistake_commands(problems, os.environ.get("GITHUB_WORKSPACE", ""), os.getcwd()))


def _keep_traceback(error: Exception, invocation: Invocation) -> str:
    """Put the traceback into the run's log, or the home's crash.log, or on stderr; where it is, in words."""
    import time
    import traceback

    from orchestrator.system.wording import for_terminal
    from orchestrator.workers.files.opening import open_file

    # A person sees one line of a bug; whoever mends it needs all of it.
    text = "".join(traceback.format_exception(error))
    if os.environ.get(_TRACEBACK_VARIABLE) == "1":
        from orchestrator.views.outlet import Outlet

        Outlet(sys.stderr).write(text)
        return "traceback above"
    # In the run's own log if the command had come so far, else in that of the home.
    path = invocation.crash_log()
    # A home that cannot be written may be the very error: then the words say how to see the traceback.
    if path is not None:
        try:
            with open(open_file(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "a", encoding="utf-8") as log:
                log.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {for_terminal(text)}")
        except OSError:
            path = None
    return f"traceback in {path}" if path is not None else f"{_TRACEBACK_VARIABLE}=1 prints the traceback"
