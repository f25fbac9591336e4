"""Completion of commands, flags and their values in a shell, derived from the settings.

The script is written once and read by the shell; after an upgrade it is written again:

    cloudtf --completion=bash > ~/.local/share/bash-completion/completions/cloudtf
    cloudtf --completion=zsh >> ~/.zshrc
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import Sequence

from cloudtf import settings

SHELLS = ("bash", "zsh")

# bash splits words at "=", zsh does not: both are brought to a flag and what its value begins with.
_SCRIPT = """\
_cloudtf() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}}
    local command=${{COMP_WORDS[1]}} flag= prefix= words=
    if [[ $current == --*=* ]]; then
        flag=${{current%%=*}} current=${{current#*=}} prefix=$flag=
    elif [[ $current == = ]]; then
        flag=$before current=
    elif [[ $before == = ]]; then
        flag=${{COMP_WORDS[COMP_CWORD-2]}}
    fi
    if [[ $COMP_CWORD == 1 ]]; then
        words="{commands} --help --version"
    elif [[ -n $flag ]]; then
        case "$command $flag" in
{values}
        esac
    else
        case $command in
{flags}
        esac
    fi
    COMPREPLY=($(compgen -P "$prefix" -W "$words" -- "$current"))
    if [[ ${{#COMPREPLY[@]}} == 1 && ${{COMPREPLY[0]}} == *= ]]; then
        compopt -o nospace 2> /dev/null
    fi
}}
complete -o default -F _cloudtf cloudtf"""


def script(shell: str, commands: Sequence[str]) -> str:
    """What the shell is to read.

    Args:
      shell: the shell that will read the script, one of `SHELLS`.
      commands: names of command modules.
    """
    flags, values = [], []
    for command in commands:
        config = importlib.import_module(f"cloudtf.commands.{command.replace('-', '_')}").CONFIG
        words = ["--help", "--flagfile="]
        for field in dataclasses.fields(config):
            if "help" not in field.metadata:
                continue
            kind, _ = settings.value_type(config, field.name)
            if kind is bool:
                words += [f"--{field.name}", f"--no{field.name}"]
                continue
            words.append(f"--{field.name}=")
            if field.metadata["choices"]:
                chosen = " ".join(field.metadata["choices"])
                values.append(f'            "{command} --{field.name}") words="{chosen}" ;;')
        flags.append(f'            {command}) words="{" ".join(words)}" ;;')
    text = _SCRIPT.format(
        commands=" ".join(commands), values="\n".join(values), flags="\n".join(flags)
    )
    if shell == "zsh":
        text = f"autoload -U +X compinit bashcompinit && compinit && bashcompinit\n{text}"
    return text
