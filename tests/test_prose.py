"""The project's prose: phrases that make a reader stop, and what to write instead.

They are looked for in docstrings, comments, messages and pages. `codespell` finds misspelt words.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: Regular expressions, each with what to write.
INSTEAD = {
    r"(also|even) not": "not even",
    r"also (if|when|while|where)": "even if, even while",
    r"are told": "are reported, are notified",
    r"as (ever|yet)": "as usual, so far",
    r"as good as (0|halfway|nothing)": "almost",
    r"(as|also) behind": "after",
    r"at bottom": "below",
    r"behind (a|an|it|them|`|the (first|last|layer|run))": "after",
    r"believ(e|es|ing) nothing": "fully checked",
    r"beside": "next to, besides, together with",
    r"but for (the|those|these|of|in|`)": "except",
    r"by custom": "usually",
    r"can not": "cannot",
    r"(code|functions?|activations?) of users": "users' code, users' functions",
    r"equations? that (a|the) network has to fulfil": "equations that a network should satisfy",
    r"(gets?|got|getting) (no )?further": "converge, make progress, reach lower errors",
    r"how far it is": "the progress",
    r"in place of": "instead of",
    r"(?<!there )(is|are) no (step|file|table|text|matrix|network|classifier|error|number)s?": "is not a",
    r"(layers?|networks?|kernels?) know(s)? (no|nothing)": "does not have, does not handle",
    r"Levenberg and Marquardt('s)?": "Levenberg-Marquardt",
    r"lies outside of": "is outside",
    r"means? nothing": "is meaningless",
    r"methods? of second order": "second-order methods",
    r"no other one": "does not ... the others",
    r"not in a bit": "not even in a single bit",
    r"of (his|her|one's) own": "of your own",
    r"on end": "in a row",
    r"on their way begin": "unfinished ones start again",
    r"(of|for|in|at|with|after|from|to|by) so (many|much|few)(?! (as|that))": "this many, a number of",
    r"inside of": "inside",
    r"outside of (the|a|its|that|what|it)": "outside",
    r"some (thousand|hundred|per cent|milliseconds)": "a few thousand, a few per cent",
    r"somebody": "someone",
    r"stands? (for|around|in (a|the|one|its))": "is, means, are in",
    r"texts (or|and)|(of|are) texts": "strings",
    r"too large for a number": "overflows",
    r"what (it|they) (is|are) of": "say what it is, or belongs to",
    r"worth a word": "reported",
}


def prose() -> dict[Path, str]:
    """All texts of the project that people read, each on one line in small letters, without comment signs."""
    files = [*ROOT.glob("*.md")]
    for folder, endings in (
        ("src", "py"),
        ("benchmarks", "py"),
        ("docs", "py md"),
        ("examples", "py"),
        (".ci", "py"),
    ):
        files += [path for ending in endings.split() for path in (ROOT / folder).rglob(f"*.{ending}")]
    plain = {path: re.sub(r"\n *#:? ", "\n", path.read_text()).lower() for path in sorted(files)}
    return {path: " ".join(text.split()) for path, text in plain.items()}


PROSE = prose()


@pytest.mark.parametrize("phrase", INSTEAD)
def test_phrases_are_natural(phrase: str) -> None:
    pattern = re.compile(rf"\b(?:{phrase.lower()})(?![\w-])")
    found = [
        f"{path.relative_to(ROOT)}: … {text[max(0, match.start() - 30) : match.end() + 30]} …"
        for path, text in PROSE.items()
        for match in pattern.finditer(text)
    ]
    assert not found, f"write {INSTEAD[phrase]!r} in {'; '.join(found)}"


def test_the_texts_are_found() -> None:
    names = {path.name for path in PROSE}
    assert {"README.md", "CHANGELOG.md", "fit.py", "compare.py", "first_fit.md", "check_log.py"} <= names
