"""`orchestrate completion bash|zsh|fish`: a script by which a shell completes words."""

from __future__ import annotations

import click

from orchestrator.cli.completing import SHELLS
from orchestrator.cli.output import write_bytes

_BASH = r"""
# eval "$(orchestrate completion bash)"     in ~/.bashrc
_orchestrate() {
    local words line found strip bash_word="${COMP_WORDS[COMP_CWORD]}"
    line="${COMP_LINE:0:COMP_POINT}"
    read -ra words <<<"$line"
    [[ "$line" == *" " ]] && words+=("")
    # bash has words end at a colon, and replaces only what stands behind it.
    [[ "$bash_word" == [:=] ]] && bash_word=""
    strip="${words[-1]%"$bash_word"}"
    COMPREPLY=()
    while IFS=$'\t' read -r found _; do
        [[ "$found" == *[:=] ]] && compopt -o nospace
        COMPREPLY+=("${found#"$strip"}")
    done < <("${words[0]}" complete "${words[@]:1}" 2>/dev/null)
}
complete -o default -o bashdefault -F _orchestrate orchestrate
"""

_ZSH = r"""
#compdef orchestrate
# eval "$(orchestrate completion zsh)"      in ~/.zshrc, behind compinit
_orchestrate() {
    local -a described
    local word about
    while IFS=$'\t' read -r word about; do
        described+=("${word//:/\\:}:$about")
    done < <("${words[1]}" complete "${(@)words[2,CURRENT]}" 2>/dev/null)
    if (( ${#described} )); then
        _describe orchestrate described
    else
        _files
    fi
}
compdef _orchestrate orchestrate
"""

_FISH = r"""
# orchestrate completion fish | source      in ~/.config/fish/config.fish
function __orchestrate_complete
    set -l words (commandline -opc)
    set -l found ($words[1] complete $words[2..-1] (commandline -ct) 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c orchestrate -f -a '(__orchestrate_complete)'
"""

_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> int:
    """Print a script by which your shell completes commands, options, runs, items, gates and agents.

    \b
    bash:  eval "$(orchestrate completion bash)"         in ~/.bashrc
    zsh:   eval "$(orchestrate completion zsh)"          in ~/.zshrc, behind compinit
    fish:  orchestrate completion fish | source          in ~/.config/fish/config.fish
    """
    write_bytes(_SCRIPTS[shell].lstrip("\n").encode())
    return 0
