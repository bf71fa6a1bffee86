"""asv: import, first call with an empty and with a filled cache."""

import os
import shutil
import subprocess
import sys
import tempfile

WARMUP = "import crabnet_jit; crabnet_jit.warmup()"


def run_python(program: str, cache: str) -> None:
    """Run a program in a process of its own, with its compiled code in the folder `cache`."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)


class Start:
    """Whole processes."""

    number = 1
    repeat = 3
    rounds = 1
    warmup_time = 0.0
    timeout = 300.0

    def setup_cache(self) -> str:
        """A cache folder that is filled once for all warm starts; asv removes it."""
        cache = os.path.join(os.getcwd(), "numba-cache")
        run_python(WARMUP, cache)
        return cache

    def setup(self, cache: str) -> None:
        """An empty folder for the next cold start."""
        self.empty = tempfile.mkdtemp()

    def teardown(self, cache: str) -> None:
        """Remove what the cold start compiled."""
        shutil.rmtree(self.empty)

    def time_import_numba(self, cache: str) -> None:
        """The floor, for comparison."""
        run_python("import numba", cache)

    def time_import(self, cache: str) -> None:
        """Import of the package."""
        run_python("import crabnet_jit", cache)

    def time_cold_first_call(self, cache: str) -> None:
        """Nothing compiled yet."""
        run_python(WARMUP, self.empty)

    def time_warm_first_call(self, cache: str) -> None:
        """Everything on disk."""
        run_python(WARMUP, cache)
