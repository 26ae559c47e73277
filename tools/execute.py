"""Run chapters in place and keep their outputs: python tools/execute.py book/15-rlfn.ipynb

The kernel starts in the notebook's folder, with SRKIT_BUDGET as it is set. A chapter is written
only when every cell ran and `complaints` has none, so a committed chapter is a complete run. A
rendered page has no kernel: of an output with a widget and HTML only the HTML is kept.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

import nbformat

MAX_BYTES = 2_500_000
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
WIDGET = "application/vnd.jupyter.widget-view+json"
# An absolute path with two parts or more (not an address, a fraction, a closing tag), or C:\...
MACHINE_PATH = re.compile(r"(?<![\w.:/<+=-])/[\w.-]+/[\w./-]+|\b[A-Z]:\\\w+")
ADDRESS = re.compile(r"<[\w.]+ object at 0x[0-9a-f]+>")  # another one in each run
DATA_URI = re.compile(r"data:[\w/+.-]+;base64,[\w/+=]*")


def tidy(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Without widgets, and without what differs from run to run: time stamps, kernel details."""
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": KERNEL, "language_info": {"name": "python", "pygments_lexer": "ipython3"}}
    )
    for cell in notebook.cells:
        for transient in ("execution", "scrolled", "collapsed"):
            cell.metadata.pop(transient, None)
        for output in cell.get("outputs", []):
            if "text/html" in output.get("data", {}):
                output.data.pop(WIDGET, None)
    return notebook


def complaints(notebook: nbformat.NotebookNode) -> list[str]:
    """What keeps a chapter from being committed, one sentence each."""
    found = []
    size = len(nbformat.writes(notebook).encode())
    if size > MAX_BYTES:
        found.append(f"{size:,} bytes, the limit is {MAX_BYTES:,}: use fewer or smaller pictures")
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    counts = [cell.execution_count for cell in code]
    if counts != list(range(1, len(code) + 1)):
        found.append(f"execution counts {counts}: run the whole chapter with tools/execute.py")
    for number, cell in enumerate(code, 1):
        texts = [text for output in cell.outputs for text in output_complaints(output, cell)]
        found += [f"cell [{number}]: {text}" for text in texts]
    return found


def output_complaints(output: nbformat.NotebookNode, cell: nbformat.NotebookNode) -> list[str]:
    found = []
    if output.output_type == "error" and "raises-exception" not in cell.metadata.get("tags", []):
        found.append(f"stored error {output.ename}: {output.evalue}")
    if output.output_type == "stream" and output.name == "stderr":
        found.append(f"stored warning or progress bar: {output.text.strip()[:60]}")
    data = output.get("data", {})
    page = data.get("text/html", "")
    if any("alt=" not in image for image in re.findall(r"<img\b[^>]*>", page)):
        found.append("picture without alt= in HTML")
    if WIDGET in data:
        found.append("widget without HTML, which a page cannot show: use srkit's stepper or mixer")
    pictured = any(kind.startswith("image/") for kind in data) and not page
    if pictured and not cell.metadata.get("mystnb", {}).get("image", {}).get("alt"):
        found.append('picture without alt text: "mystnb": {"image": {"alt": ...}} in the metadata')
    shown = [output.get("text", ""), data.get("text/plain", ""), DATA_URI.sub("", page)]
    shown += output.get("traceback", [])  # names files: catch the error and print it instead
    shown = "\n".join(shown)
    found += [f"address in memory: {address}" for address in ADDRESS.findall(shown)]
    return found + [f"path of one machine: {path}" for path in MACHINE_PATH.findall(shown)]


def execute(path: Path, timeout: int) -> None:
    """Run one notebook and write it whole, or raise and leave it as it was."""
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
    )
    notebook = tidy(client.execute())
    if found := complaints(notebook):
        raise SystemExit("\n".join(f"{path}: {text}" for text in found))
    part = path.with_suffix(".part")
    nbformat.write(notebook, part)
    os.replace(part, path)
    print(f"{path}: {path.stat().st_size:,} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="+", type=Path)
    parser.add_argument("--timeout", type=int, default=3600, help="seconds a cell may take")
    arguments = parser.parse_args()
    print(f"SRKIT_BUDGET={os.environ.get('SRKIT_BUDGET', '(not set)')}", file=sys.stderr)
    for path in arguments.notebooks:
        execute(path, arguments.timeout)


if __name__ == "__main__":
    main()
