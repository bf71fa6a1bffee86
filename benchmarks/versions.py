"""Versions of a repository, checked out side by side for `benchmarks.compare`."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class CannotMeasureError(Exception):
    """The speed cannot be compared; the message says why."""


class Version(NamedTuple):
    """A checked-out version: how to speak of it, its files, and where its machine code is kept."""

    name: str
    folder: Path
    cache: Path

    @property
    def sources(self) -> Path:
        """The folder to import from."""
        return self.folder / "src" if (self.folder / "src").is_dir() else self.folder


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder; return what it prints."""
    try:
        result = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise CannotMeasureError("git is needed to check out versions, and is not installed") from None
    if result.returncode:
        raise CannotMeasureError(result.stderr.strip() or f"git {arguments[0]} failed")
    return result.stdout.strip()


def commit(repository: Path, revision: str) -> str:
    """The full name of a commit."""
    try:
        return git(
            repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"
        )
    except CannotMeasureError:
        raise CannotMeasureError(f"{repository} has no commit {revision!r}") from None


def changed_files(repository: Path) -> list[str]:
    """Files that differ from the newest commit, those that git does not track yet among them."""
    return git(repository, "status", "--porcelain").splitlines()


def describe(repository: Path, name: str) -> str:
    """A commit's short name and its subject."""
    return git(repository, "log", "-1", "--format=%h %s", name)


@contextlib.contextmanager
def checked_out(repository: Path, revision: str | None, folder: Path, cache: Path) -> Iterator[Version]:
    """A version in a worktree of its own, which is removed at the end.

    None is the working tree as it is: its newest commit and what was changed since.
    """
    name = commit(repository, "HEAD" if revision is None else revision)
    label = describe(repository, name)
    git(repository, "worktree", "add", "--quiet", "--detach", str(folder), name)
    try:
        if revision is None and (changes := changed_files(repository)):
            label += f", and {len(changes)} uncommitted change{'s' if len(changes) > 1 else ''}"
            _copy_working_tree(repository, folder)
        cache.mkdir(parents=True, exist_ok=True)
        yield Version(label, folder, cache)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        git(repository, "worktree", "prune")


def _copy_working_tree(repository: Path, folder: Path) -> None:
    for name in git(folder, "ls-files", "-z").split("\0"):
        if name:
            (folder / name).unlink()
    for name in git(repository, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0"):
        if name and (repository / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(repository / name, folder / name)
