"""`python -m orchestrator`, and by the path of this file, as `system.own_command` starts us: the same as `orchestrate`."""

import sys

if not __package__:
    # Started by its path: the package is the folder of this file, whatever else is called `orchestrator` on the path of modules.
    import os

    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    import orchestrator  # noqa: F401

    del sys.path[0]

from orchestrator.cli import end_process, main

if __name__ == "__main__":
    end_process(main())
