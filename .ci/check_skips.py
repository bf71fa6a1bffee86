"""Fail if a test was skipped for a reason that is not on this list: `check_skips.py OUTPUT_OF_PYTEST`."""

import re
import sys
from pathlib import Path

ALLOWED = {
    "mounting is not permitted": "a small disk needs that right; limits of file sizes are tested, too",
}

skipped = re.findall(r"^SKIPPED \[(\d+)\] (\S+): (.*)$", Path(sys.argv[1]).read_text(), re.MULTILINE)
for count, place, reason in skipped:
    print(f"skipped {count}: {place}: {reason}")
if bad := [(place, reason) for _, place, reason in skipped if reason not in ALLOWED]:
    sys.exit(f"skipped without an allowed reason: {bad}")
