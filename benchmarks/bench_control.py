"""asv: runs with callbacks."""

import tempfile
from pathlib import Path
from typing import ClassVar

from .common import check_article
from .control import watched, ways


class Watched:
    """400,000 iterations of the article's job, with one callback at a time."""

    params: ClassVar = [list(ways(Path()))]
    param_names: ClassVar = ["callbacks"]

    def setup(self, name: str) -> None:
        """Compile, and make the trainer."""
        check_article()
        self.folder = tempfile.TemporaryDirectory()
        self.run = watched(ways(Path(self.folder.name))[name])

    def teardown(self, name: str) -> None:
        """Remove what callbacks wrote."""
        self.folder.cleanup()

    def time_run(self, name: str) -> None:
        """The whole run, bookkeeping of callbacks included."""
        self.run()
