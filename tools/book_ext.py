"""What the book's build adds to Jupyter Book.

- A chapter's number is the one in its file's name: `book/15-rlfn.ipynb` is chapter 15.
- With site/vendor (`make vendor`) MathJax and the widgets come from there, without it from the
  usual content delivery networks.
- Docstrings are plain text: `name: meaning` lines become a list of arguments, and characters that
  reStructuredText would take for markup are escaped.
- A dataclass's field whose default is made for each object has "..." as its default; Sphinx cannot
  read its "<factory>", and would print all types of that signature in full.
- Thebe, which is not used but would be fetched, and scripts that stand twice on a page are dropped.
"""

import inspect
import re
from pathlib import Path

from docutils import nodes

VENDORED = {
    "mathjax_path": "vendor/mathjax/tex-mml-chtml.js",
    "nb_ipywidgets_js": {
        "vendor/widgets/require.js": {},
        "widget_paths.js": {},
        # The address of widgets that are not in the bundle: none are used.
        "vendor/widgets/embed-amd.js": {"data-jupyter-widgets-cdn": "vendor-missing/"},
    },
}


def use_vendored(app, config):
    if (Path(app.srcdir) / "site" / "vendor").is_dir():
        for name, value in VENDORED.items():
            config[name] = value


def number_by_file_name(app, env):
    """Runs after Sphinx has counted chapters, sections and figures from 1."""
    for page in env.found_docs:
        found = re.match(r"book/(\d\d)-", page)
        if not found:
            continue
        chapter = int(found[1])
        sections = env.toc_secnumbers.get(page, {})
        for anchor, number in sections.items():
            sections[anchor] = (chapter, *number[1:])
        for kind in env.toc_fignumbers.get(page, {}).values():
            for name, number in kind.items():
                kind[name] = (chapter, *number[1:])
        numbered = [env.titles[page], *env.tocs[page].findall(nodes.reference)]
        for node in numbered:
            if node.get("secnumber"):
                node["secnumber"] = (chapter, *node["secnumber"][1:])
    return []


def from_plain_text(app, what, name, obj, options, lines):
    try:
        arguments = set(inspect.signature(obj).parameters)
    except (TypeError, ValueError):  # a module, a property
        arguments = set()
    text, in_list = [], False
    for line in lines:
        names, colon, meaning = f"{line} ".partition(": ")
        bare = [name.strip("`* ") for name in names.split(",")]
        if colon and not line.startswith(" ") and set(bare) <= arguments:
            text += [*([] if in_list else [""]), f":param {','.join(bare)}: {escaped(meaning)}"]
            in_list = True
        elif not line.strip() or line.startswith(("Raises ", "Returns ", "Source")):
            text += ["", escaped(line)]
            in_list = False
        else:
            text.append(("    " if in_list else "") + escaped(line))
    lines[:] = text


def with_readable_defaults(app, what, name, obj, options, signature, returns):
    return signature and signature.replace("<factory>", "..."), returns


def escaped(line):
    """Outside `code`: no emphasis, no |substitutions|, no references_."""
    if line.startswith((">>> ", "... ")):  # code that is shown as it is
        return line
    parts = line.split("`")
    parts[::2] = [re.sub(r"([*|]|_(?=\W|$))", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


def tidy_scripts(app, pagename, templatename, context, doctree):
    seen, kept = set(), []
    for script in context.get("script_files", []):
        body = getattr(script, "attributes", {}).get("body") or ""
        if "thebe" in f"{getattr(script, 'filename', script)} {body}".lower() or body in seen:
            continue
        seen |= {body} - {""}
        kept.append(script)
    context["script_files"] = kept


def setup(app):
    app.connect("config-inited", use_vendored)
    app.connect("env-get-updated", number_by_file_name, priority=900)
    app.connect("autodoc-process-docstring", from_plain_text)
    app.connect("autodoc-process-signature", with_readable_defaults)
    app.connect("html-page-context", tidy_scripts, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
