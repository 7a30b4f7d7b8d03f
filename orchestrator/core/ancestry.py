"""Which jobs come before and behind which, by needs and chains. Each walk comes to a job once, however many ways lead to it.

No walk calls itself: a chain of five thousand jobs is as deep as Python lets no function be.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from orchestrator.core.job_rules import JobRules
from orchestrator.core.states import JobState, Phase, RunState


def chain_depths(rules: Sequence[JobRules]) -> list[int]:
    """Of each job: how many jobs it follows, one behind the other, by the longest of its chains; 0 of a job that is no chain."""
    depths = [0] * len(rules)
    followers: list[list[int]] = [[] for _ in rules]
    for rule in rules:
        for parent in rule.chain:
            followers[parent].append(rule.order)
    # A job's depth is known once all that it follows are.
    left = [len(rule.chain) for rule in rules]
    known = [rule.order for rule in rules if not rule.chain]
    while known:
        order = known.pop()
        for follower in followers[order]:
            depths[follower] = max(depths[follower], depths[order] + 1)
            left[follower] -= 1
            if not left[follower]:
                known.append(follower)
    return depths


def jobs_behind(state: RunState, firsts: Collection[int]) -> set[int]:
    """The jobs that need one of `firsts`, directly or through others."""
    found: set[int] = set()
    todo = list(firsts)
    while todo:
        news = set(state.jobs[todo.pop()].dependents) - found
        found |= news
        todo += news
    return found


def jobs_before(state: RunState, last: int) -> set[int]:
    """The jobs that job `last` needs, directly or through others."""
    found: set[int] = set()
    todo = [last]
    while todo:
        news = set(_needed_by(state.jobs[todo.pop()])) - found
        found |= news
        todo += news
    return found


def has_failed(state: RunState, asked: int, found: dict[int, bool]) -> bool:
    """Whether job `asked` failed, or did not succeed because one before it had failed.

    `found`: what was found out since the state changed last; more is added.
    """
    lasting = state.agenda.failed_before
    todo = [asked]
    while todo:
        order = todo[-1]
        job = state.jobs[order]
        if order in lasting or order in found:
            todo.pop()
        elif job.is_stopped or (job.failed and not job.bears_failures):
            lasting[order] = True
        elif job.phase is Phase.SUCCEEDED:
            lasting[order] = False
        else:
            # One before it that has failed decides; those that nobody has looked at yet are looked at first.
            before = _needed_by(job)
            answers = [lasting.get(each, found.get(each)) for each in before]
            if True not in answers and None in answers:
                todo.append(before[answers.index(None)])
            # A job that is not closed may yet succeed, or one before it may yet fail: that is true of this state alone.
            elif job.is_closed and all(each in lasting for each in before):
                lasting[order] = True in answers
            else:
                found[order] = True in answers
    return lasting[asked] if asked in lasting else found[asked]


def what_blocks(state: RunState, need: JobState) -> JobState | None:
    """The job for which what needs `need` is skipped: itself, or one that it follows, for then it is not whole. None: none."""
    todo, seen = [need], {need.rules.order}
    while todo:
        job = todo.pop()
        if job.blocks_dependents:
            return job
        # Behind a failed item stands a skipped one. A chain that runs all the same (`when = "always"`) is whole.
        if job.skipped > job.gone and job.rules.when_word is None:
            news = [parent for parent in job.rules.chain if parent not in seen]
            seen.update(news)
            todo += [state.jobs[parent] for parent in news]
    return None


def _needed_by(job: JobState) -> tuple[int, ...]:
    return (*job.rules.needs, *job.rules.chain)
