"""Suggestions for command lines with a mistake."""

import re
from collections.abc import Sequence
from itertools import pairwise, takewhile
from pathlib import Path

from crabnet_jit import other_names

_FIT = "crabnet-jit fit points.csv --inputs x --outputs y"
# For incomplete command lines.
_WHAT_TO_TYPE = {"--inputs, --outputs": f"type {_FIT}; the article's job is crabnet-jit gaussian"}
_TABLES = (".csv", ".tsv", ".txt", ".gz", ".parquet", ".xlsx", ".feather")


def of_command(name: str, known: Sequence[str]) -> str:
    """What to type instead of this command."""
    if is_table(name):
        return f"type crabnet-jit fit {name} --inputs x --outputs y"
    if name.endswith(".npz"):
        return f"type crabnet-jit predict {name} FILE, or crabnet-jit plot {name}"
    hint = other_names.command_hint(name)
    return hint.replace("crabnet-jit fit?", f"{_FIT}?") or f"the commands are {', '.join(known)}"


def is_table(name: str) -> bool:
    """Whether a file's name is that of a table."""
    return name.lower().endswith(_TABLES)


def of_option(name: str, known: Sequence[str]) -> str:
    """What to type instead of this option; names are given as they are typed."""
    names = [option.lstrip("-").replace("-", "_") for option in known]
    return other_names.option_hint(name.lstrip("-").replace("-", "_"), names)


def of_error(message: str, words: Sequence[str], lists: Sequence[str]) -> str:
    """What to type after an error of argparse; `lists` are the options that take a list."""
    for part, hint in _WHAT_TO_TYPE.items():
        if part in message:
            return hint
    if message.startswith("unrecognized arguments"):
        return _joined(words, lists)
    if match := re.fullmatch(r"argument (\S+): expected one argument", message):
        return _with_minus(words, match[1])
    return ""


def _joined(words: Sequence[str], lists: Sequence[str]) -> str:
    """How to type a list whose values are separate words."""
    for k, word in enumerate(words):
        values = list(takewhile(_may_be_of_a_list, words[k + 1 :])) if word in lists else []
        if len(values) > 1:
            return f"a list has commas: {word}={','.join(values)}"
    return ""


def _may_be_of_a_list(word: str) -> bool:
    return not re.match("--?[A-Za-z]", word) and not Path(word).is_file()


def _with_minus(words: Sequence[str], option: str) -> str:
    """How to type a value that begins with a minus."""
    for word, value in pairwise(words):
        if word == option and re.match(r"-([\d.]|inf|nan)", value):
            return f"type {option}={value}"
    return ""
