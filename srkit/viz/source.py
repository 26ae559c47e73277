"""The package's own source, shown in a chapter, so that text and code always agree."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from dataclasses import dataclass
from html import escape
from pathlib import Path
from types import FunctionType, MethodType, ModuleType

NEWLINE = "\n"
PRE = '<pre style="white-space:pre-wrap">'


@dataclass(frozen=True, repr=False)
class Source:
    """Code, and the file and line where it begins."""

    code: str
    where: str

    def __repr__(self) -> str:
        return f"# {self.where}\n{self.code}"

    def _repr_html_(self) -> str:
        from pygments import highlight
        from pygments.formatters import HtmlFormatter
        from pygments.lexers import PythonLexer

        code = highlight(self.code, PythonLexer(), HtmlFormatter(cssclass="highlight"))
        head, lines, tail = re.split(r"(?<=<pre>)|(?=\n</pre>)", code)
        # The class "highlight" is coloured by the book's theme and by JupyterLab, light and dark.
        return (
            f'<figure style="margin:0 0 1rem">{head.replace("<pre>", PRE)}'
            f"{''.join(map(_hanging, lines.split(NEWLINE)))}{tail}"
            f'<figcaption style="color:inherit;text-align:left">{escape(self.where)}</figcaption>'
            "</figure>"
        )


def _hanging(line: str) -> str:
    """A highlighted line that goes on eight columns further in, where the page is too narrow."""
    plain = re.sub(r"<[^>]+>", "", line)
    indent = len(plain) - len(plain.lstrip()) + 8
    look = f"display:block;padding-left:{indent}ch;text-indent:-{indent}ch"
    return f'<span style="{look}">{line or " "}</span>'


def show_source(
    obj: type | FunctionType | MethodType | ModuleType, *, docstring: bool = True
) -> Source:
    """The source of a class, function, method or module, with its file and line.

    docstring: False leaves out the docstrings, for a chapter that says the same in prose.

    Raises TypeError for anything that has no Python source, such as a model instead of its class.
    """
    try:
        lines, start = inspect.getsourcelines(obj)
        file = Path(inspect.getfile(obj))
    except (TypeError, OSError) as error:
        raise TypeError(
            f"show_source takes a class, function or module written in Python, "
            f"got {type(obj).__name__}: show_source(type(model)) shows a model's class"
        ) from error
    code = textwrap.dedent("".join(lines))
    root = file.parent  # the folder that holds the package
    while (root / "__init__.py").exists():
        root = root.parent
    where = f"{file.relative_to(root).as_posix()}, line {max(start, 1)}"
    return Source(code if docstring else _without_docstrings(code), where)


def _without_docstrings(code: str) -> str:
    lines = code.splitlines(keepends=True)
    for node in ast.walk(ast.parse(code)):
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        if isinstance(node, kinds) and len(node.body) > 1 and ast.get_docstring(node) is not None:
            text = node.body[0]
            first, stop = text.lineno - 1, text.end_lineno or text.lineno
            while not lines[stop].strip():  # the blank lines after it go, too
                stop += 1
            lines[first:stop] = [""] * (stop - first)
    return "".join(lines)
