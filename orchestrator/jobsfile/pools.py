"""The pools that a jobs file may use: its own [pools.NAME] over those of the user's config.toml, key by key."""

from __future__ import annotations

from typing import Any

from orchestrator.jobsfile.key_types import POOL_NAME
from orchestrator.jobsfile.keys import PoolTable
from orchestrator.jobsfile.language.decode import decode
from orchestrator.jobsfile.language.problems import Problems
from orchestrator.jobsfile.language.suggestions import describe
from orchestrator.jobsfile.model import Pool
from orchestrator.jobsfile.template_fields import WRONG
from orchestrator.workers.lazy_pattern import lazy_pattern

PoolFields = dict[str, dict[str, Any]]
"""Name -> the keys that a table [pools.NAME] gives; a value may be WRONG."""

_POOL_NAME = lazy_pattern(POOL_NAME)


def compile_pools(tables: dict[str, Any], problems: Problems) -> PoolFields:
    """The keys of each table of [pools]. Tells bad names, unknown keys and wrong values."""
    pools: PoolFields = {}
    for name, table in tables.items():
        place = ("pools", name)
        if not _POOL_NAME.fullmatch(name):
            problems.tell(place, "a pool's name is at most 64 lower-case letters, digits, - and _, the first a letter or a digit")
        if not isinstance(table, dict):
            if table is not None:  # else `plain` has told it
                problems.tell(place, f'expected a table such as {{ slots = 4, rate = "50/min" }}, got {describe(table)}')
            pools[name] = {"slots": WRONG}
            continue
        raw, wrong = decode(table, PoolTable, place, problems)
        pools[name] = {key: WRONG if key in wrong else getattr(raw, key) for key in table}
    return pools


def build_pools(config: PoolFields, own: PoolFields, config_problems: Problems, problems: Problems) -> dict[str, Pool]:
    """`own` over `config`. Tells a pool that would bound nothing. Only to be used if no problem is told in the end."""
    pools: dict[str, Pool] = {}
    for name in {**config, **own}:
        fields = {**config.get(name, {}), **own.get(name, {})}
        if not fields:
            where = problems if name in own else config_problems
            where.tell(("pools", name), "a pool has slots, a rate (starts in a time), or both; this has neither")
        if WRONG not in fields.values():
            pools[name] = Pool(name=name, **fields)
    return pools
