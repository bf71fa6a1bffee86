"""Look at a wheel and a source distribution before anybody uploads them: `check_package.py FOLDER`."""

import email
import re
import sys
import tarfile
import zipfile
from pathlib import Path

folder = Path(sys.argv[1])
(wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
with zipfile.ZipFile(wheel) as archive:
    in_wheel = set(archive.namelist())
    (place,) = (name for name in in_wheel if name.endswith(".dist-info/METADATA"))
    metadata = email.message_from_bytes(archive.read(place))
with tarfile.open(sdist) as archive:
    in_sdist = {name.partition("/")[2] for name in archive.getnames()}

missing = {"crabnet_jit/py.typed", "crabnet_jit/__init__.pyi"} - in_wheel
missing |= {place.replace("METADATA", "licenses/LICENSE")} - in_wheel
missing |= {"LICENSE", "CHANGELOG.md", "README.md", "tests/conftest.py", "tests/data/golden.json"} - in_sdist
relative = [
    link
    for link in re.findall(r"\]\(([^)]+)\)", metadata.get_payload())
    if not link.startswith(("http", "#"))
]
print(f"{wheel.name}: {len(in_wheel)} files; {sdist.name}: {len(in_sdist)} files")
if missing or relative:
    sys.exit(f"missing: {sorted(missing)}; links that an index cannot follow: {relative}")
