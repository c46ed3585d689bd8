"""The Tab key: what it offers, and that real shells take it."""

import os
import pty
import select
import shutil
import subprocess
import sys
from pathlib import Path
from time import monotonic

import pytest
import typer

from convtool import terms
from convtool.bench import cases, gpu_peers, peers
from convtool.cli import program, shells
from convtool.cli.completion import _FREE, WORDS, complete
from shell import run

BASH = shutil.which("bash")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to stand in, with a kernel, pictures and a preset of one's own."""
    place = tmp_path / "work"
    (place / "sub").mkdir(parents=True)
    for name in ("my.toml", "photo.png", "phone book.pdf", ".hidden.toml", "a b.npy"):
        (place / name).touch()
    own = tmp_path / "config" / "convtool" / "kernels"
    own.mkdir(parents=True)
    (own / "zebra.toml").write_text(
        'name = "zebra"\ndescription = "Stripes"\ntaps = [[1, -1], [1, -1]]\n'
    )
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(place)
    return place


def offered(*words):
    """Return the words for the last one, which is not complete."""
    *given, incomplete = words
    found = complete(program(), given, incomplete)
    return None if found is None else [word.text for word in found]


def kernels(text):
    return offered("apply", "-k", text)


def test_commands_and_options():
    assert offered("") == ["apply", "transpose", "shape", "bench", "doctor", "kernels"]
    assert offered("kernels", "") == ["list", "show", "check", "export"]
    assert offered("apply", "--bord") == ["--border"]
    [word] = complete(program(), ["apply"], "--bord")
    assert word.help == "What stands in the padding"
    # What was given once is not offered again; a kernel may be.
    assert offered("apply", "--border", "edge", "--bord") == []
    assert "--kernel" in offered("apply", "-k", "sobel", "--k")


def test_presets_with_their_descriptions(folder):
    [gaussian] = complete(program(), ["apply", "-k"], "gauss")
    # More may follow a kernel that takes numbers, so no space does.
    assert gaussian == ("gaussian", "Gaussian blur", False)
    [sobel] = complete(program(), ["apply", "-k"], "sob")
    assert sobel == ("sobel", "Gradient, smoothed 1 2 1", True)
    assert {"box", "sobel", "zebra", "my.toml", "sub/"} <= set(kernels(""))


def test_other_names_are_offered_where_no_first_one_fits(folder):
    assert kernels("blu") == ["blur"]
    assert kernels("laplacian-of") == ["laplacian-of-gaussian"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gaussian", ["gaussian", "gaussian:sigma=", "gaussian:size="]),
        ("gaussian:", ["gaussian:sigma=", "gaussian:size="]),
        ("gaussian:si", ["gaussian:sigma=", "gaussian:size="]),
        ("gaussian:sigma=", []),
        ("gaussian:sigma=2,", ["gaussian:sigma=2,size="]),
        ("gaussian:sigma=2,size=9,", []),
        ("sobel:", ["sobel:filter="]),
        ("sobel:filter=", ["sobel:filter=x", "sobel:filter=y"]),
        ("sobel:filter=y", ["sobel:filter=y"]),
        ("blur:sig", ["blur:sigma="]),
        ("identity:", []),
        ("nothing:", []),
        ("zebra", ["zebra"]),
    ],
)
def test_parameters_and_their_values(folder, text, expected):
    assert kernels(text) == expected


def test_filters_without_names_have_numbers(folder):
    assert kernels("kirsch:filter=") == [f"kirsch:filter={name}" for name in names_of("kirsch")]


def names_of(preset):
    from convtool.kernels import load

    kernel = load(preset)
    return list(kernel.filter_names) or [str(index) for index in range(kernel.filters)]


def test_files_that_may_be_kernels(folder):
    assert kernels("my") == ["my.toml"]
    assert kernels("ph") == ["photo.png"]  # an image may be one
    assert kernels(".h") == [".hidden.toml"]
    assert kernels("s") == [*(n for n in kernels("") if n.startswith("s"))]
    (folder / "sub" / "other.csv").touch()
    assert kernels("sub/o") == ["sub/other.csv"]
    assert kernels("missing/") == []


def test_what_is_written_in_one_word(folder):
    assert offered("apply", "--kernel=sob") == ["--kernel=sobel"]
    assert offered("apply", "--border=ref") == ["--border=reflect"]


@pytest.mark.parametrize(
    ("option", "choices"),
    [
        ("--padding", [mode for mode in terms.PaddingMode if mode != "explicit"]),
        ("--combine", terms.Combine),
        ("--range", terms.RangeMode),
        ("--activation", terms.Activation),
        ("--alpha", terms.AlphaMode),
        ("--engine", terms.EngineName),
        ("--method", terms.MethodName),
        ("--depth", terms.Depth),
        ("--format", "png jpg tif webp bmp ppm gif npy".split()),
        ("--border", ["zero", "constant:", "edge", "reflect", "symmetric", "wrap"]),
        ("--stride", []),
        ("--quality", []),
        ("--device", []),
    ],
)
def test_choices_of_apply(option, choices):
    assert offered("apply", option, "") == list(choices)


def test_other_commands(folder):
    assert offered("transpose", "-k", "biline") == ["bilinear"]
    assert offered("transpose", "--padding", "f") == ["full"]
    assert offered("transpose", "--output-shape", "") == []
    assert offered("shape", "28x28", "-k", "sob") == ["sobel"]
    assert offered("kernels", "show", "sobel", "gauss") == ["gaussian"]
    assert offered("kernels", "export", "sobel", "--format", "n") == ["npy", "npz"]
    assert offered("bench", "--group", "") == [*cases.EVERY, "none"]
    assert offered("bench", "--peers", "opencv,s") == ["opencv,scipy"]
    assert set(offered("bench", "--peers", "")) == {
        "all",
        "none",
        *(peer.name for peer in (*peers.PEERS, *gpu_peers.PEERS)),
    }


def test_names_of_files_are_left_to_the_shell():
    for words in (["apply", "ph"], ["apply", "-o", ""], ["kernels", "check", ""], ["shape", ""]):
        assert offered(*words) is None, words


def test_the_tables_name_what_there_is():
    root = typer.main.get_command(program())
    commands = {**root.commands, **root.commands["kernels"].commands}
    for name, words in WORDS.items():
        parameters = {parameter.name for parameter in commands[name].params}
        assert words.keys() <= parameters, name
    every = {parameter.name for command in commands.values() for parameter in command.params}
    assert every >= _FREE


# ---------------------------------------------------------------- shells


def test_scripts_are_printed(monkeypatch):
    for name, shell in shells.SHELLS.items():
        monkeypatch.setenv("_CONVTOOL_COMPLETE", f"source_{name}")
        assert run().out == shell.script.strip() + "\n"
    monkeypatch.setenv("_CONVTOOL_COMPLETE", "complete_tcsh")
    ran = run()
    assert (ran.code, ran.out) == (2, "")
    assert "complete_ or source_ and a shell, but 'complete_tcsh' is given" in ran.err
    assert "shells are bash, zsh, fish" in ran.err


@pytest.mark.parametrize("option", ["--show-completion", "--install-completion"])
def test_a_shell_that_is_not_known(option, monkeypatch):
    monkeypatch.setattr(shells, "_get_shell_name", lambda: "tcsh")
    ran = run(option)
    assert (ran.code, ran.out) == (2, "")
    assert "completion is for bash, zsh, fish" in ran.err
    assert "but the shell is tcsh" in ran.err


@pytest.mark.parametrize(
    ("name", "script", "start"),
    [
        ("bash", ".bash_completions/convtool.sh", ".bashrc"),
        ("zsh", ".zfunc/_convtool", ".zshrc"),
        ("fish", ".config/fish/completions/convtool.fish", None),
    ],
)
def test_scripts_are_installed_once(name, script, start, tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(shells, "_get_shell_name", lambda: name)
    if start:
        (tmp_path / start).write_text("# mine")
    for _ in range(2):
        ran = run("--install-completion")
        assert (ran.code, ran.err) == (0, "")
        assert str(tmp_path / script) in ran.out
    assert run("--show-completion").out == (tmp_path / script).read_text()
    if start:
        mine, line = (tmp_path / start).read_text().splitlines()
        assert mine == "# mine"
        assert Path(script).parent.name in line


def test_a_home_that_cannot_be_written_to(tmp_path, monkeypatch):
    (tmp_path / ".config").write_text("in the way")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(shells, "_get_shell_name", lambda: "fish")
    ran = run("--install-completion")
    assert (ran.code, ran.out) == (1, "")
    assert "cannot be written" in ran.err
    assert "_CONVTOOL_COMPLETE=source_fish" in ran.err


def test_a_question_is_answered_without_heavy_imports(folder):
    code = (
        "import sys\n"
        "from convtool.cli import main\n"
        "main([])\n"
        "print('HEAVY', *sorted({'numpy', 'PIL', 'numba', 'rich'} & set(sys.modules)))\n"
    )
    for line in ("convtool apply -k ", "convtool apply -k sobel:filter=", "convtool bench --gr"):
        asked = {"_CONVTOOL_COMPLETE": "complete_bash", "_CONVTOOL_LINE": line}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **asked},
            capture_output=True,
            text=True,
            check=True,
        )
        first, *words, heavy = done.stdout.splitlines()
        assert (first, heavy) == ("words", "HEAVY")
        assert words


@pytest.mark.parametrize(
    ("shell", "asked", "expected"),
    [
        ("zsh", "gauss", "+gaussian:Gaussian blur"),
        ("zsh", "sobel:filter=x", r".sobel\:filter=x"),
        ("fish", "gauss", "gaussian\tGaussian blur"),
        ("fish", "sobel:filter=x", "sobel:filter=x"),
    ],
)
def test_answers_of_zsh_and_fish(folder, monkeypatch, shell, asked, expected):
    monkeypatch.setenv("_CONVTOOL_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("_CONVTOOL_WORDS", "convtool\napply\n-k")
    monkeypatch.setenv("_CONVTOOL_WORD", asked)
    assert run().out.splitlines() == ["words", expected]


def test_answer_of_powershell(folder, monkeypatch):
    monkeypatch.setenv("_CONVTOOL_COMPLETE", "complete_pwsh")
    monkeypatch.setenv("_CONVTOOL_LINE", "convtool apply -k gauss")
    monkeypatch.setenv("_CONVTOOL_WORD", "gauss")
    assert run().out.splitlines() == ["words", "gaussian\tGaussian blur"]


@pytest.fixture
def executable(tmp_path):
    """A convtool that answers the shell, and else says what it was given."""
    path = tmp_path / "bin" / "convtool"
    path.parent.mkdir()
    path.write_text(
        "#!/bin/sh\n"
        f'[ -n "$_CONVTOOL_COMPLETE" ] && exec {sys.executable} -m convtool\n'
        "printf 'GIVEN'; printf ' <%s>' \"$@\"; echo\n"
    )
    path.chmod(0o755)
    return path


BASH_ASKS = """
source /dev/stdin <<< "$(_CONVTOOL_COMPLETE=source_bash "$1")"
COMP_LINE=$2 COMP_POINT=${#2}
_convtool_completion "$1"
(( ${#COMPREPLY[@]} )) && printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.skipif(BASH is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        # Only what follows the last : or = is handed back, for bash replaces no more.
        ("gauss", ["gaussian"]),
        ("gaussian:", ["sigma=", "size="]),
        ("gaussian:sigma=2,", ["2,size="]),
        ("sobel:filter=", ["x ", "y "]),
        ("my", ["my.toml "]),
        ("a", ["average", r"a\ b.npy "]),
        (r"a\ ", [r"a\ b.npy "]),
        ('"gaussian:sig', ["gaussian:sigma="]),
        ("'a ", ["a b.npy' "]),
        ("sobel pho", []),
    ],
)
def test_bash_is_answered(folder, executable, line, expected):
    done = subprocess.run(
        [BASH, "--norc", "-c", BASH_ASKS, "bash", executable, f"convtool apply -k {line}"],
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == expected, done.stderr


def typed(command, keys, until, **environment):
    """Type keys on a terminal; return what it showed, up to `until`."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(command[0], command, {**os.environ, "TERM": "dumb", **environment})
    shown, end = b"", monotonic() + 60
    try:
        os.write(terminal, keys.encode())
        while until not in shown and monotonic() < end:
            if select.select([terminal], [], [], 0.1)[0]:
                shown += os.read(terminal, 65536)
    finally:
        os.close(terminal)
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    return shown.decode(errors="replace")


# Tab after Tab: preset, parameter, the other one, a file.
KEYS = "true; convtool apply -k gaus\t:sig\t2,s\t9 -k my\tphot\t\n"
GIVEN = "GIVEN <apply> <-k> <gaussian:sigma=2,size=9> <-k> <my.toml> <photo.png>"


@pytest.mark.skipif(BASH is None, reason="bash is not installed")
def test_a_line_typed_in_bash(folder, executable, tmp_path):
    start = tmp_path / "bashrc"
    start.write_text(f"{shells.BASH}\nPATH={executable.parent}:$PATH\n")
    command = [BASH, "--noprofile", "--rcfile", str(start), "-i"]
    assert GIVEN in typed(command, KEYS, GIVEN.encode())


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_a_line_typed_in_zsh(folder, executable, tmp_path):
    (tmp_path / ".zshrc").write_text(
        f"autoload -Uz compinit; compinit -u -D\n{shells.ZSH}\n"
        f"PATH={executable.parent}:$PATH\nunset zle_bracketed_paste\n"
    )
    given = typed(["zsh", "-i"], KEYS, GIVEN.encode(), ZDOTDIR=str(tmp_path))
    assert GIVEN in given


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_a_line_in_fish(folder, executable, tmp_path):
    code = (
        f"set PATH {executable.parent} $PATH\n{shells.FISH}\ncomplete -C 'convtool apply -k gaus'"
    )
    done = subprocess.run(
        ["fish", "--no-config", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "gaussian\tGaussian blur\n"
