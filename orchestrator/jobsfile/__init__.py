"""From a jobs file to a `JobsFile`: keys, types, templates and their names, item sources, inputs, all mistakes at once.

Whatever can be wrong with a file is found here, before anything starts, and is told with its place and a suggestion. Nothing
here reads the state of a run, and no process is started but to ask an agent CLI for its version (`profiles/versions`). A file is
read as it stands at that moment.
"""
