"""Placeholders that the program of a command reads once more, as commands: `eval {{ x }}`, `sh -c {{ x }}`, `ssh HOST {{ x }}`.

Our quotes hold for one reading. What these programs get is the value itself, and they take it for commands of theirs. This is a
look for what people write, so that they are told; it is no proof: a script of one's own may do the same, and nobody sees it.
A placeholder that opts out (`| raw`) is not told of, for there it is meant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.jobsfile.language.shell_contexts import PLACEHOLDER
from orchestrator.workers.lazy_pattern import lazy_pattern
from orchestrator.workers.shell import SHELLS

_MARKUP = lazy_pattern(r"\{[#%{]")
_CLOSERS = {"{#": "#}", "{%": "%}", "{{": "}}"}
_OPTED_OUT = lazy_pattern(r"\|\s*raw\s*-?$")

_SCRIPT_OPTIONS = {
    **dict.fromkeys(("sh", "bash", "dash", "zsh", "ksh", "mksh", "ash", "fish", "su", "runuser"), "c"),
    **dict.fromkeys(("python", "python2", "python3", "pypy3"), "c"),
    "perl": "eE",
    "ruby": "e",
    "node": "ep",
    "php": "r",
}
"""Programs that read an argument as a script, and the letters of the option that says so."""
_SUSPECT = lazy_pattern(rf"(?<![\w.-])(?:eval|ssh|watch|{'|'.join(_SCRIPT_OPTIONS)})(?![\w.-])")
"""Most scripts name none of these, and are not looked at."""
_NAME_USERS = ("su", "runuser")
"""Those of them in front of whose option a name may stand, which is no file of a script."""
_TAKES_VALUE = {"o", "W", "X", "O"}
"""Last letters of options, of these programs, behind which a value stands."""
_SSH_TAKES_VALUE = lazy_pattern(r"-[46AaCfGgKkMNnqsTtVvXxYy]*[BbcDEeFIiJLlmOoPpQRSWw]")

_BEFORE_COMMANDS = frozenset(("if", "then", "else", "elif", "do", "while", "until", "!", "{", "time", "coproc"))
_PREFIXES = frozenset(
    ("command", "builtin", "exec", "nohup", "env", "sudo", "doas", "nice", "ionice", "setsid", "stdbuf", "time", "timeout")
)
_ASSIGNMENT = lazy_pattern(r"[A-Za-z_]\w*\+?=")
_OF_PREFIX = lazy_pattern(r"-.*|[0-9.]+[smhd]?")

_HERE_DOCUMENT = lazy_pattern(r"<<-?[ \t]*(['\"\\]?)(\w+)['\"]?")

_DEEPEST = 50

Pipeline = list[list[str]]
"""The commands of it, each as its words without quotes."""


_COMPARING = r"-(?:eq|ne|lt|le|gt|ge)"
_ARITHMETIC = lazy_pattern(
    rf"\$\[[^\]]*{PLACEHOLDER}"  # $[ x ]
    rf"|\w\[[^\]\n]*{PLACEHOLDER}[^\]\n]*\]\+?="  # a[x]=
    rf"|\blet\s[^\n;|&'\"]*{PLACEHOLDER}"
    rf"|\b(?:declare|typeset|local|export|readonly)\s+-\w*i[^\n;|&'\"]*{PLACEHOLDER}"
    rf"|\[\[\s(?:[^\n]*\s)?(?:{_COMPARING}\s+{PLACEHOLDER}|{PLACEHOLDER}\s+{_COMPARING}\s)"
)


def has_arithmetic(source: str) -> bool:
    """Whether bash takes the value of a placeholder for arithmetic, in which `a[$(…)]` runs what stands there."""
    return _ARITHMETIC.search(marked(source)) is not None


def marked(source: str) -> str:
    """The text of a template with a mark for each placeholder that does not opt out, and nothing for what else jinja2 reads."""
    parts: list[str] = []
    unclosed: set[str] = set()
    at = 0
    while found := _MARKUP.search(source, at):
        opener = found[0]
        # What has no end is looked for once, not behind each beginning.
        end = -1 if opener in unclosed else source.find(_CLOSERS[opener], found.end())
        if end < 0:
            unclosed.add(opener)
            parts.append(source[at : found.start() + 1])
            at = found.start() + 1
            continue
        parts.append(source[at : found.start()])
        if opener == "{{":
            parts.append("_" if _OPTED_OUT.search(source[found.end() : end].rstrip()) else PLACEHOLDER)
        at = end + 2
    return "".join([*parts, source[at:]])


def reader_in_script(source: str) -> str:
    """The first program of a script (a template for a shell) that reads a placeholder as commands, in words; empty: none."""
    script = marked(source)
    if PLACEHOLDER not in script or not _SUSPECT.search(script):
        return ""
    return next((words for each in pipelines(script) if (words := _reader_in(each))), "")


def reader_in_argv(sources: Sequence[str], stdin: str = "") -> str:
    """The same of an argv without a shell, a template each. `stdin`: the template of what it is given."""
    argv = [marked(source) for source in sources]
    found = _reader_of(argv, is_given=False)
    if found or PLACEHOLDER not in marked(stdin) or not _reads_stdin(argv):
        return found
    return f"{_name(argv[_program(argv)])} on its stdin"


def _reader_in(pipeline: Pipeline) -> str:
    before = False
    for command in pipeline:
        if before and _reads_stdin(command):
            return f"| {_name(command[_program(command)])}"
        if words := _reader_of(command, is_given=before):
            return words
        before = before or any(PLACEHOLDER in word for word in command)
    return ""


def _reader_of(words: Sequence[str], *, is_given: bool) -> str:
    """What of one command reads a placeholder as commands. `is_given`: one comes from the commands before it in its pipeline."""
    for place, word in enumerate(words):
        # Anywhere: behind xargs, find -exec, sudo, docker exec.
        letters = _SCRIPT_OPTIONS.get(_name(word))
        if letters is None:
            continue
        option, script = _script(words[place + 1 :], letters, names_users=_name(word) in _NAME_USERS)
        if PLACEHOLDER in script:
            return f"{_name(word)} {option}"
        # What xargs and find put in the place of {} is no argument there, but a piece of the script.
        if "{}" in script and place and (is_given or any(PLACEHOLDER in each for each in words[:place])):
            return f"{_name(words[0])} … {_name(word)} {option} with {{}} in its script"
    # These put their arguments together to one line, and read that.
    program = _program(words)
    name = _name(words[program]) if program < len(words) else ""
    arguments = words[program + 1 :]
    if name == "ssh":
        arguments = _behind_host(arguments)
    if name in ("eval", "ssh", "watch") and any(PLACEHOLDER in word for word in arguments):
        return name
    return ""


def _script(words: Sequence[str], letters: str, *, names_users: bool) -> tuple[str, str]:
    """The option that says that a script follows, and the script; two empty texts where none does."""
    option = ""
    is_value = False
    for word in words:
        if is_value and not word.startswith("-"):
            is_value = False
        elif word == "-m" and not option:
            return "", ""  # a module: what follows is its own
        elif word.startswith(("-", "+")) and word not in ("-", "+"):
            if not word.startswith("--") and any(letter in word[1:] for letter in letters):
                option = option or word
            is_value = not option and word[-1] in _TAKES_VALUE and not word.startswith("--")
        elif option:
            return option, word
        elif not names_users:
            return "", ""  # a script in a file: `sh x.sh`
    return "", ""


def _reads_stdin(words: Sequence[str]) -> bool:
    """Whether a command is a shell that reads its commands from its standard input."""
    program = _program(words)
    if program == len(words) or _name(words[program]) not in SHELLS:
        return False
    options = words[program + 1 :]
    if any(word.startswith("-") and not word.startswith("--") and "c" in word for word in options):
        return False
    return all(word.startswith(("-", "+")) for word in options) or any(word == "-s" for word in options)


def _behind_host(words: Sequence[str]) -> Sequence[str]:
    """Of the arguments of `ssh` those that it puts together to a command."""
    place = 0
    while place < len(words) and words[place].startswith("-"):
        place += 2 if _SSH_TAKES_VALUE.fullmatch(words[place]) else 1
    return words[place + 1 :]


def _program(words: Sequence[str]) -> int:
    """Where in a command its program stands: behind words of the shell, assignments, and programs that start another."""
    is_behind_prefix = False
    for place, word in enumerate(words):
        if _name(word) in _PREFIXES:
            is_behind_prefix = True
        elif not (word in _BEFORE_COMMANDS or _ASSIGNMENT.match(word) or (is_behind_prefix and _OF_PREFIX.fullmatch(word))):
            return place
    return len(words)


def _name(word: str) -> str:
    return word.rpartition("/")[2]


# The commands of a script, as far as it takes to find these.


def pipelines(script: str) -> Iterator[Pipeline]:
    """The pipelines of a script, also those inside of `$( )`. Quotes are taken away. Strange scripts give strange pipelines."""
    return iter(_Splitter(script).split())


class _Splitter:
    """Goes once over a script. What `$(` or `(` opens is split for itself."""

    def __init__(self, script: str) -> None:
        self._script = script
        self._at = 0
        self._depth = 0
        self._found: list[Pipeline] = []
        self._delimiters: list[str] = []
        """Of the here-documents that begin with the next line."""

    def split(self) -> list[Pipeline]:
        while self._at < len(self._script):
            self._read_commands()
        return self._found

    def _read_commands(self) -> None:
        """Up to the `)` that closes them, or the end."""
        pipeline: Pipeline = [[]]
        word: str | None = None
        while self._at < len(self._script):
            character = self._script[self._at]
            self._at += 1
            match character:
                case " " | "\t" | "<" | ">" | "\n" | ";" | "&" | "|" | "(" | ")":
                    # A word ends here; a single `|` goes on with the same pipeline, all else but a blank ends it.
                    if word is not None:
                        pipeline[-1].append(word)
                        word = None
                    if character == "|" and not self._skip("|"):
                        pipeline.append([])
                    elif character in "\n;&|()":
                        self._found.append(pipeline)
                        pipeline = [[]]
                    self._read_separator(character)
                    if character == ")":
                        return
                case "#" if word is None:
                    self._at = self._end_of_line()
                case _:
                    word = (word or "") + self._read_part(character)
        if word is not None:
            pipeline[-1].append(word)
        self._found.append(pipeline)

    def _read_inner(self) -> None:
        """The commands behind a `(`. Where they are nested beyond all use, as if it was not there."""
        if self._depth < _DEEPEST:
            self._depth += 1
            self._read_commands()
            self._depth -= 1

    def _read_separator(self, character: str) -> None:
        match character:
            case "(":
                self._read_inner()
            case "<" if here := _HERE_DOCUMENT.match(self._script, self._at - 1):
                self._delimiters.append(here[2])
                self._at = here.end()
            case "\n":
                for delimiter in self._delimiters:
                    self._pass_here_document(delimiter)
                self._delimiters.clear()

    def _read_part(self, character: str) -> str:
        """What one character, or what it opens, adds to a word."""
        match character:
            case "'":
                start, end = self._at, self._script.find("'", self._at)
                self._at = len(self._script) if end < 0 else end + 1
                return self._script[start : self._at - 1]
            case '"':
                return self._read_double_quotes()
            case "\\":
                self._at += 1
                return self._script[self._at - 1 : self._at]
            case "$" if self._skip("("):
                self._read_inner()
                return "$"
            case _:
                return character

    def _read_double_quotes(self) -> str:
        text = ""
        while self._at < len(self._script):
            character = self._script[self._at]
            self._at += 1
            if character == '"':
                break
            text += character if character == "'" else self._read_part(character)
        return text

    def _skip(self, character: str) -> bool:
        is_there = self._script.startswith(character, self._at)
        self._at += is_there
        return is_there

    def _end_of_line(self) -> int:
        newline = self._script.find("\n", self._at)
        return len(self._script) if newline < 0 else newline

    def _pass_here_document(self, delimiter: str) -> None:
        while self._at < len(self._script):
            start = self._at
            self._at = min(self._end_of_line() + 1, len(self._script))
            if self._script[start : self._at].strip() == delimiter:
                return
