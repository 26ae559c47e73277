"""What the book's build adds to Jupyter Book.

- A chapter's number is the one in its file's name: `book/15-rlfn.ipynb` is chapter 15.
- Formulas become MathML, which browsers draw by themselves: a page loads no program for them, and
  shows none of their TeX. A formula that cannot be converted ends the build.
- Numbers in tables stand to the right, and `±` stays with its number. A picture of the class
  `srkit-wide` gets the room beside the text.
- Docstrings are plain text: `name: meaning` lines become a list of arguments, and characters that
  reStructuredText would take for markup are escaped.
- Indented lines after an empty one are code.
- A dataclass's field whose default is made for each object has "..." as its default; Sphinx cannot
  read its "<factory>", and would print all types of that signature in full. A dataclass of many
  fields is shown by names and defaults, without their types.
- `.. zoo::` is the table of the networks, by paper.
- The notebook that a page offers for download is without outputs: they stand on the page.
- Thebe, which is not used but would be fetched, and scripts that stand twice on a page are dropped.
"""

import inspect
import re
from dataclasses import is_dataclass
from pathlib import Path

import nbformat
from docutils import nodes
from math_core import LatexError, LatexToMathML
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective
from sphinx.util.math import get_node_equation_number

from srkit.models.zoo import ZOO

FORMULAS = LatexToMathML(fancy_error=False)


def mathml(self, node, display):
    """The formula of a node. `align` and its like are starred: Sphinx has numbered it already."""
    tex = re.sub(r"\\(begin|end)\{(align|gather|equation|multline)\}", r"\\\1{\2*}", node.astext())
    try:
        return FORMULAS.convert_with_local_state(tex.strip(), displaystyle=display)
    except LatexError as error:
        name = node.get("label") or "without a label"
        raise ExtensionError(
            f"{self.builder.current_docname}: the formula {name}, {tex.strip()!r}, cannot be "
            f"converted to MathML. At character {error}"
        ) from None


def inline_formula(self, node):
    found = mathml(self, node, display=False)
    self.body.append(f'<span class="math notranslate nohighlight">{found}</span>')
    raise nodes.SkipNode


def formula(self, node):
    """A formula of its own, with its number to the right; a wide one scrolls."""
    self.body.append(self.starttag(node, "div", CLASS="math notranslate nohighlight"))
    self.body.append(f"<div>{mathml(self, node, display=True)}</div>")
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append("</div>\n")
    raise nodes.SkipNode


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
    text, in_list, in_code, after = [], False, False, ""
    for line in lines:
        names, colon, meaning = f"{line} ".partition(": ")
        bare = [name.strip("`* ") for name in names.split(",")]
        indented = line.startswith("    ")
        if indented and (in_code or not after.strip()):
            kind = ".. code-block:: text" if line.startswith("    srkit ") else "::"
            text += [line] if in_code else ["", kind, "", line]
            in_code = True
        elif in_code and not line.strip():
            text.append("")
        elif colon and not line.startswith(" ") and set(bare) <= arguments:
            text += [*([] if in_list else [""]), f":param {','.join(bare)}: {escaped(meaning)}"]
            in_list, in_code = True, False
        elif not line.strip() or line.startswith(("Raises ", "Returns ", "Source")):
            text += ["", escaped(line)]
            in_list, in_code = False, False
        else:
            text += [*([""] if in_code else []), ("    " if in_list else "") + escaped(line)]
            in_code = False
        after = line
    lines[:] = text


def with_readable_signature(app, what, name, obj, options, signature, returns):
    if not signature:
        return None
    if is_dataclass(obj) and len(signature) > 200:
        fields = inspect.signature(obj).parameters.values()
        signature = str(inspect.Signature([p.replace(annotation=p.empty) for p in fields]))
    return signature.replace("<factory>", "..."), returns


class Zoo(SphinxDirective):
    """A line for each network: its scales, parameters, and the weights that there are for it."""

    def run(self):
        groups = {}
        for entry in ZOO:
            licences = ", ".join(dict.fromkeys(file.licence for file in entry.weights.values()))
            weights = ", ".join(f"``{kind}``" for kind in entry.weights)
            key = (entry.paper.label, entry.paper.year, entry.family, weights, licences)
            groups.setdefault(key, []).append(entry)
        rows = [("paper", "name", "scale", "parameters", "weights", "licence")]
        for (paper, year, family, *weights), entries in groups.items():
            scales = ", ".join(str(entry.scale) for entry in entries)
            counts = "; ".join(dict.fromkeys(f"{entry.parameters:,}" for entry in entries))
            rows.append((f"{paper}, {year}", f"``{family}``", scales, counts, *weights))
        table = [".. list-table::", "   :header-rows: 1", ""]
        for row in rows:
            table += [f"   {'-' if i else '* -'} {cell}".replace("   - ", "     - ")
                      for i, cell in enumerate(row)]  # fmt: skip
        return self.parse_text_to_nodes("\n".join(table))


def escaped(line):
    """Outside `code`: no emphasis, no |substitutions|, no references_."""
    if line.startswith((">>> ", "... ")):  # code that is shown as it is
        return line
    parts = line.split("`")
    parts[::2] = [re.sub(r"([*|]|_(?=\W|$))", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


# In a cell: a number with its sign, spread and unit.
NUMBER = re.compile(
    r"(<td)(>(?:<p>)?\s*[-+−±]?\d[\d.,]*(?: ± [\d.,]+)?(?: ?(?:%|dB|MB))?\s*(?:</p>)?</td>)"
)


def finish_body(app, pagename, templatename, context, doctree):
    """Numbers in tables to the right, a spread beside its number, and room for wide pictures."""
    body = context.get("body", "")
    if "<table" in body:
        context["body"] = re.sub(r"<table\b.*?</table>", with_numbers, body, flags=re.DOTALL)
    if "srkit-wide" in body:
        app.add_css_file("wide.css")


def with_numbers(table):
    marked = NUMBER.sub(r'\1 class="number"\2', table[0])
    return marked.replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}")


def tidy_scripts(app, pagename, templatename, context, doctree):
    seen, kept = set(), []
    for script in context.get("script_files", []):
        body = getattr(script, "attributes", {}).get("body") or ""
        if "thebe" in f"{getattr(script, 'filename', script)} {body}".lower() or body in seen:
            continue
        seen |= {body} - {""}
        kept.append(script)
    context["script_files"] = kept


def without_outputs(app, exception):
    """Half of the site would be the pictures of its pages once more."""
    if exception is None and app.builder.format == "html":
        for path in Path(app.outdir, "_sources").rglob("*.ipynb"):
            notebook = nbformat.read(path, as_version=4)
            for cell in notebook.cells:
                if cell.cell_type == "code":
                    cell.outputs, cell.execution_count = [], None
            nbformat.write(notebook, path)


def setup(app):
    app.add_html_math_renderer("mathml", (inline_formula, None), (formula, None))
    app.add_directive("zoo", Zoo)
    app.connect("env-get-updated", number_by_file_name, priority=900)
    app.connect("autodoc-process-docstring", from_plain_text)
    app.connect("autodoc-process-signature", with_readable_signature)
    app.connect("html-page-context", finish_body)
    app.connect("html-page-context", tidy_scripts, priority=900)
    app.connect("build-finished", without_outputs)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
