"""Which driver for what: what tests play a part with, and samples to play it on.

What is driven without a process:

- `core_driver`: plays the supervisor for the core; events in, decisions out, invariants checked after each event.
  `core_crowd` plays it in runs of many jobs, and counts what an event costs. `core_invariants`: what holds after each event.
  `core_model` is the core once more, as plainly as it can be said; `core_scenarios` draws random runs for both.
  `wait_world` is a world of runs that hold and wait.
- `loop_stories`: runs by the real loop, store and parts on `memory_engine`, whose attempts end when the test's story says so.
  `loop_stage` is such a run at a point where anything may happen to it. `held_judgement`: answers that are being judged in it.
- `token_driver`: several runs that ask for tokens in one process, each with a desk and a supervisor's lock of its own.
- `store_samples`, `token_samples`, `views_story`: records of a run, records of tokens, happenings of a small run.
- `memory_records`: a run that exists in memory alone, for what stands on `Records`; it counts the outputs that were read.
- `jobs_schema`: what an editor would say of a jobs file. `importing`: what becomes of another tool's workflow.

Real processes:

- `engine_driver`: one slot of an engine of this machine, and the next supervisor that finds what it has left.
- `worker_driver`: one worker, spoken to as a supervisor would. `workspace_items`: an item with a workspace, for it.
- `command_line`: the program to its end, forked from a warm process (`warm_program`, `warm_server`) or started anew.
  `forked_process` is what a fork puts right.
- `run_driver`: one run through the command line; its jobs witness what they do, its supervisor may be killed at any point.
  `token_runs` (runs of the same work), `many_runs` (runs inside and beside each other) and `steered_runs` (a run that is
  asked things while it goes on) stand on it.
- `gate`: a job that tells when it runs and goes on when the test says so. `batch`: the batch that is killed over and over.
- `fake_agents`: an agent (`fake_agent.py`) that does what its prompt says and notes what was paid for.
  `answering_reader`: a reader that answers its agent while that runs.
  `model_server`: a model server on the loopback, for agents that talk HTTP. `recorded_agents`: what real agents once wrote.
- `control_groups`: a counter of what the kernel has killed for want of memory, and workers that read it.
- `fenced_bugs`: bugs of ours that a fence has kept to one item, as supervisor.log tells them.
- `hostile_bytes`: what items and agents may write at the worst.
- `recorded_runs`: runs that earlier versions of the program recorded, laid out in a test's folder.
- `git_repository`: a repository that nothing configured on this machine reaches. `repository_runs`: runs of jobs files in it.
  `planting_agent`: an agent that leaves things for git to run.

`our_source`: the program's own files, for the tests of its structure.

For parametrize: `sweeps`, of which the quick suite runs a few and `make test-slow` all. A table of hundreds of small cases is
one test, whose failure says which case it was: `sweeps.telling`.
"""
