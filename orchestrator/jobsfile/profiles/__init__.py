"""Profiles: what is known of each agent CLI, as data, and how a profile file becomes a `Profile`.

A new CLI is a new TOML file and no code: no agent's name stands in any module. Nothing here calls an agent or reads what one
said; that is done beside the agent, in `workers/agents`.
"""
