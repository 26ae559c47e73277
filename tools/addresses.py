"""Ask every address that srkit downloads from whether it still answers: python tools/addresses.py

Weights of the zoo and archives of data sets; one byte each, nothing is kept. It prints the
addresses that do not answer, and ends with 1 if a file has none left that does.
"""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPException

from srkit.datasets.catalog import CATALOG
from srkit.models.zoo import ZOO

SECONDS = 30  # to wait for an answer


def addresses() -> dict[str, list[str]]:
    """What can be downloaded, with its addresses: {"weights/IMDN/IMDN_x2.pth": [...], ...}."""
    found = {w.path: [w.url] for entry in ZOO for w in entry.weights.values() if w.url}
    for name, data in CATALOG.items():
        if data.archives:
            found[name] = [url for archive in data.archives for url in archive.urls]
    return found


def wrong_with(url: str) -> str:
    """Why `url` gives nothing; "" if it gives a first byte that is not of a web page."""
    request = urllib.request.Request(url, headers={"User-Agent": "srkit", "Range": "bytes=0-0"})
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            kind, first = answer.headers.get_content_type(), answer.read(1)
    except (OSError, HTTPException, ValueError) as error:
        return str(error)
    if kind == "text/html":
        return "a web page in place of a file"
    return "" if first else "no bytes"


def lost(asked: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, bool, list[str]]]:
    """For each file with an address that fails: its name, whether all fail, a line for each."""
    for name, urls in asked.items():
        said = {url: wrong_with(url) for url in urls}
        if failures := [f"{url}: {why}" for url, why in said.items() if why]:
            yield name, len(failures) == len(urls), failures


def main() -> None:
    asked, none_left = addresses(), 0
    for name, all_fail, failures in lost(asked):
        none_left += all_fail
        print(f"{name}: {'no address answers' if all_fail else 'another address answers'}")
        print(*(f"  {failure}" for failure in failures), sep="\n")
    print(f"{len(asked)} files asked for, {none_left} without an address that answers")
    sys.exit(none_left > 0)


if __name__ == "__main__":
    main()
