"""How shells ask for completions: bash, zsh, fish and PowerShell.

Each loads a script, which asks the program through the environment. The first line of the answer
is ``words``, which then follow one a line, or ``files`` where the shell itself knows best.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import typer
from typer._click.shell_completion import split_arg_string
from typer._completion_shared import _get_shell_name

from convtool.cli.completion import Word, complete
from convtool.errors import ConvtoolError, UsageError

# What bash breaks words at unless it is told otherwise; only : and = are in kernels' names.
BREAKS = ":="


class InstallError(ConvtoolError):
    """A file of a shell that cannot be written."""

    status = 1


def answer(app: typer.Typer, instruction: str) -> int:
    """Answer a shell's question.

    Parameters
    ----------
    app : Typer
    instruction : str
        ``complete_SHELL``, or ``source_SHELL`` for the script.

    Returns
    -------
    int
        The exit status.
    """
    doing, _, name = instruction.partition("_")
    shell = SHELLS.get(name)
    if shell is None or doing not in ("complete", "source"):
        raise UsageError(
            f"_CONVTOOL_COMPLETE is complete_ or source_ and a shell, but {instruction!r} is given",
            f"for example source_{next(iter(SHELLS))}; shells are {', '.join(SHELLS)}",
        )
    if doing == "source":
        typer.echo(shell.script.strip())
        return 0
    given, incomplete = shell.question(os.environ)
    words = complete(app, given, incomplete)
    typer.echo("files" if words is None else "words")
    for word in words or ():
        typer.echo(shell.word(word, os.environ))
    return 0


class Shell(NamedTuple):
    """How a shell asks, and how it wants to be answered.

    Parameters
    ----------
    script : str
        What it loads.
    question : callable
        From the environment to the words before the cursor and the one that is incomplete.
    word : callable
        Writes a word as a line of the answer.
    """

    script: str
    question: Callable[[Mapping[str, str]], tuple[list[str], str]]
    word: Callable[[Word, Mapping[str, str]], str]


# bash takes words apart at : and =, which belong to a kernel's. So the line as a whole is passed,
# and of what completes its last word only that which follows the last break is handed back.
BASH = """
_convtool_completion() {
    local answer
    COMPREPLY=()
    mapfile -t answer < <(_CONVTOOL_COMPLETE=complete_bash _CONVTOOL_BREAKS="$COMP_WORDBREAKS" \\
        _CONVTOOL_LINE="${COMP_LINE:0:COMP_POINT}" "${1/#\\~/$HOME}" 2>/dev/null)
    if [[ ${answer[0]} == words ]]; then
        compopt -o nospace +o default 2>/dev/null
        COMPREPLY=("${answer[@]:1}")
    fi
}

complete -o default -F _convtool_completion convtool
"""

# Unfinished words, whose lines begin with a +, are not followed by a space.
ZSH = """
#compdef convtool

_convtool_completion() {
    local -a answer finished unfinished
    answer=("${(@f)$(_CONVTOOL_COMPLETE=complete_zsh \\
        _CONVTOOL_WORDS="${(F)${(@Q)words[1,CURRENT-1]}}" _CONVTOOL_WORD="${(Q)PREFIX}" \\
        ${(Q)words[1]} 2>/dev/null)}")
    if [[ $answer[1] != words ]]; then
        _files
        return
    fi
    finished=("${(@)${(@M)answer:#.*}#.}")
    unfinished=("${(@)${(@M)answer:#+*}#+}")
    _describe -V value finished -- unfinished -S ''
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _convtool_completion "$@"
else
    compdef _convtool_completion convtool
fi
"""

FISH = """
function _convtool_completion
    set -l given (commandline -opc)
    set -l before (string join \\n -- $given | string collect)
    set -l answer (_CONVTOOL_COMPLETE=complete_fish _CONVTOOL_WORDS=$before \\
        _CONVTOOL_WORD=(commandline -ct) $given[1] 2>/dev/null)
    if test "$answer[1]" = words
        printf '%s\\n' $answer[2..]
    else
        __fish_complete_path (commandline -ct)
    end
end

complete --command convtool --no-files --arguments '(_convtool_completion)'
"""

POWERSHELL = """
Register-ArgumentCompleter -Native -CommandName convtool -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $Env:_CONVTOOL_COMPLETE = "complete_powershell"
    $Env:_CONVTOOL_LINE = $commandAst.ToString()
    $Env:_CONVTOOL_WORD = $wordToComplete
    convtool | Select-Object -Skip 1 | ForEach-Object {
        $word, $help = $_ -Split "`t"
        if (-not $help) { $help = $word }
        [System.Management.Automation.CompletionResult]::new($word, $word, 'ParameterValue', $help)
    }
    $Env:_CONVTOOL_COMPLETE = $null
    $Env:_CONVTOOL_LINE = $null
    $Env:_CONVTOOL_WORD = $null
}
"""


def _bash_question(asked: Mapping[str, str]) -> tuple[list[str], str]:
    line = asked.get("_CONVTOOL_LINE", "")
    words = split_arg_string(line)
    incomplete = words.pop() if words and not _at_a_new_word(line) else ""
    return words[1:], incomplete


def _at_a_new_word(line: str) -> bool:
    return line[-1:].isspace() and line[-2:-1] != "\\" and not _open_quote(line)


def _open_quote(line: str) -> str:
    """Return the quote that is open at the end of a line."""
    quote = ""
    for place, letter in enumerate(line):
        if letter == quote:
            quote = ""
        elif not quote and letter in "\"'" and line[place - 1 : place] != "\\":
            quote = letter
    return quote


def _bash_word(word: Word, asked: Mapping[str, str]) -> str:
    quote, space = _open_quote(asked.get("_CONVTOOL_LINE", "")), " " if word.done else ""
    if quote:  # in which bash breaks nothing, and nothing needs a backslash
        return word.text + (quote + space if word.done else "")
    breaks = asked.get("_CONVTOOL_BREAKS", BREAKS)
    incomplete = _bash_question(asked)[1]
    kept = max((incomplete.rfind(sign) for sign in ":=" if sign in breaks), default=-1) + 1
    return re.sub(r"([^\w@%+=:,./~-])", r"\\\1", word.text[kept:]) + space


def _split_question(asked: Mapping[str, str]) -> tuple[list[str], str]:
    words = asked.get("_CONVTOOL_WORDS", "").split("\n")
    return words[1:], asked.get("_CONVTOOL_WORD", "")


def _zsh_word(word: Word, _: Mapping[str, str]) -> str:
    text = re.sub(r"([\\:])", r"\\\1", word.text)
    return f"{'.' if word.done else '+'}{text}" + (f":{word.help}" if word.help else "")


def _tabbed(word: Word, _: Mapping[str, str]) -> str:
    return f"{word.text}\t{word.help}" if word.help else word.text


def _powershell_question(asked: Mapping[str, str]) -> tuple[list[str], str]:
    words = split_arg_string(asked.get("_CONVTOOL_LINE", ""))
    incomplete = asked.get("_CONVTOOL_WORD", "")
    return words[1:-1] if incomplete else words[1:], incomplete


SHELLS = {
    "bash": Shell(BASH, _bash_question, _bash_word),
    "zsh": Shell(ZSH, _split_question, _zsh_word),
    "fish": Shell(FISH, _split_question, _tabbed),
    "powershell": Shell(POWERSHELL, _powershell_question, _tabbed),
}
SHELLS["pwsh"] = SHELLS["powershell"]


def here() -> str:
    """Return the name of the shell that called.

    Raises
    ------
    UsageError
        Where it is none of `SHELLS`.
    """
    name = _get_shell_name() or "unknown"
    if name not in SHELLS:
        raise UsageError(
            f"completion is for {', '.join(SHELLS)}, but the shell is {name}",
            "_CONVTOOL_COMPLETE=source_bash convtool prints the script for bash",
        )
    return name


def install(name: str) -> Path:
    """Put a shell's script where the shell finds it.

    Returns
    -------
    Path
        Of the script.

    Raises
    ------
    InstallError
        Where it cannot be written.
    """
    home, script = Path.home(), SHELLS[name].script.strip() + "\n"
    if name in ("powershell", "pwsh"):
        from typer._completion_shared import _completion_scripts, install_powershell

        _completion_scripts[name] = script.replace("%", "%%")
        return install_powershell(prog_name="convtool", complete_var="", shell=name)
    path, start, line = {
        "bash": (
            home / ".bash_completions" / "convtool.sh",
            home / ".bashrc",
            f"source '{home / '.bash_completions' / 'convtool.sh'}'",
        ),
        "zsh": (
            home / ".zfunc" / "_convtool",
            home / ".zshrc",
            "fpath+=~/.zfunc; autoload -Uz compinit; compinit",
        ),
        "fish": (home / ".config" / "fish" / "completions" / "convtool.fish", None, ""),
    }[name]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script)
        if start is not None:
            _ensure_line(start, line)
    except OSError as error:
        raise InstallError(
            f"{error.filename or path} cannot be written: {error.strerror}",
            f"_CONVTOOL_COMPLETE=source_{name} convtool prints what it should hold",
        ) from None
    return path


def _ensure_line(path: Path, line: str) -> None:
    """Append a line to a file, unless it is there."""
    text = path.read_text() if path.exists() else ""
    if line not in text.splitlines():
        with path.open("a") as file:
            file.write(f"{'' if text.endswith(chr(10)) or not text else chr(10)}{line}\n")
