"""`python -m orchestrator`: the same as `orchestrate`."""

import sys

from orchestrator.cli import main

if __name__ == "__main__":
    sys.exit(main())
