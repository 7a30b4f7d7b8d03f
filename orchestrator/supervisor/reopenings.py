"""What is recorded so that items run once more, whoever supervises the run."""

from __future__ import annotations

from orchestrator.control.messages import RetryRequest
from orchestrator.store.records import Record, RetryAsked
from orchestrator.store.run_history import RunHistory


def retries(history: RunHistory, asked: RetryRequest) -> list[Record]:
    """What was asked, an item each. Items of jobs that were not listed yet have no place for it: they just run.

    A model, a prompt or a new base that an earlier retry asked for stays until one asks for another.
    """
    records: list[Record] = []
    for job_id, index in asked.all_items:
        past = history.jobs[job_id]
        attempts = past.attempts(index)
        # An earlier retry's change stays until one asks for another: feedback alone does not take a model back.
        model, prompt, onto, is_prompt_kept = asked.model, asked.prompt, asked.onto, False
        if (earlier := past.retries.get(index)) is not None:
            model = earlier.model if model is None else model
            onto = earlier.onto if onto is None else onto
            if prompt is None and earlier.prompt is not None:
                prompt, is_prompt_kept = earlier.prompt, earlier.is_prompt_kept or attempts > earlier.attempts
        records.append(
            RetryAsked(
                job=job_id,
                index=index,
                attempts=attempts,
                feedback=asked.feedback,
                model=model,
                prompt=prompt,
                is_prompt_kept=is_prompt_kept,
                onto=onto,
            )
        )
    return records
