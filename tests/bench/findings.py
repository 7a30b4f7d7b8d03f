"""All that one sitting has found, part by part; a part that was not asked for, or failed, is None."""

from __future__ import annotations

from dataclasses import dataclass, field

from chains import Chains
from contest import Outcome
from contestants import Contestant, Size
from idling import IdleAgents
from many_runs import ManyRuns
from scaling import Commands, Scale
from sharing import Sharing
from starts import Gaps, StartUp


@dataclass
class Findings:
    """`absent`: who took no part in the contest, and why. `failed`: parts that came to nothing, and why."""

    entrants: list[Contestant] = field(default_factory=list)
    contest: dict[Size, Outcome] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    scales: list[Scale] = field(default_factory=list)
    commands: Commands | None = None
    starts: list[StartUp] = field(default_factory=list)
    gaps: Gaps | None = None
    idle_agents: IdleAgents | None = None
    many_runs: ManyRuns | None = None
    sharing: Sharing | None = None
    chains: Chains | None = None
    failed: dict[str, str] = field(default_factory=dict)
