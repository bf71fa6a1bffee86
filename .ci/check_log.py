"""Check the standard output of `crabnet-jit gaussian` against the article's twelve lines."""

import json
import re
import sys
from pathlib import Path

published = json.loads((Path(__file__).parents[1] / "tests/data/published_log.json").read_text())
lines = Path(sys.argv[1]).read_text().splitlines()
fitted = [line for line in lines if line.startswith("Iter ")]
differences = []
for line, (iteration, loss) in zip(fitted, published, strict=True):
    match = re.fullmatch(r"Iter (\d+), loss: (\S+)", line)
    if match is None or int(match[1]) != iteration:
        sys.exit(f"expected iteration {iteration}, got {line!r}")
    differences.append(abs(float(match[2]) / loss - 1))
print(f"{len(fitted)} lines, largest relative difference from the article {max(differences):.1e}")
if not all(difference <= 1e-10 for difference in differences):  # NaN fails too
    sys.exit("the log differs from the article's")
