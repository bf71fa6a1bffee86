"""What the site needs besides Sphinx: texts of --help, links from code to the reference, no name left out."""

import os
import re
from typing import Any

from docutils import nodes
from pygments.lexers.shell import BashLexer
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.autosummary import autosummary_table
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

import crabnet_jit
from crabnet_jit import estimators, plotting
from crabnet_jit.cli.options import all_options

#: Every public name, with the module that it is imported from.
MODULES = (crabnet_jit, plotting, estimators)
PUBLIC = {name: f"{module.__name__}.{name}" for module in MODULES for name in module.__all__}
_COLUMNS = 90  # of the texts of --help


class Help(SphinxDirective):
    """What `crabnet-jit COMMAND --help` prints."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """A block of text."""
        os.environ["COLUMNS"] = str(_COLUMNS)
        text = all_options().commands[self.arguments[0]].format_help()
        return [nodes.literal_block(text, text, language="none")]


def link_names(_: Sphinx, document: nodes.document) -> None:
    """Make the first code of a document that is a public name, `fit` or `fit()`, a link to its page."""
    linked = set()
    for literal in [*document.findall(nodes.literal)]:
        target = PUBLIC.get(literal.astext().removesuffix("()"))
        if target is not None and target not in linked and not _is_linked_or_title(literal):
            linked.add(target)
            link = pending_xref("", refdomain="py", reftype="obj", reftarget=target, refwarn=True)
            literal.replace_self(link)
            link += literal


def _is_linked_or_title(node: nodes.Node | None) -> bool:
    while node is not None:
        if isinstance(node, nodes.title | nodes.reference | pending_xref):
            return True
        node = node.parent
    return False


def drop_citations(_: Sphinx, document: nodes.document) -> None:
    """Leave citations out of the tables of names: they belong to the names' own pages."""
    for table in document.findall(autosummary_table):
        citations = [xref for xref in table.findall(pending_xref) if xref["refdomain"] == "citation"]
        for citation in citations:
            before = citation.parent[citation.parent.index(citation) - 1]
            before.parent.replace(before, nodes.Text(before.astext().rstrip()))
            citation.parent.remove(citation)


def public_bases(thing: object) -> list[type]:
    """Those bases of a class that have a page."""
    public = [getattr(module, name) for module in MODULES for name in module.__all__]
    return [base for base in getattr(thing, "__bases__", ()) if base in public]


def with_public_bases() -> list[str]:
    """Public names, with their modules, of classes that have such bases; for their template."""
    names = [(module, name) for module in MODULES for name in module.__all__]
    return [PUBLIC[name] for module, name in names if public_bases(getattr(module, name))]


def keep_public_bases(_: Sphinx, _name: str, thing: type, _options: object, bases: list[type]) -> None:
    """Show no other ones."""
    bases[:] = public_bases(thing)


def skip_requests(_: Sphinx, _what: str, name: str, _thing: object, skip: bool, _options: object) -> bool:
    """Leave out the methods by which scikit-learn routes metadata; it makes and documents them."""
    return skip or re.fullmatch(r"set_\w+_request", name) is not None


def check_names(_: Sphinx, environment: BuildEnvironment) -> None:
    """Warn of every public name that no page describes."""
    described = environment.domains.python_domain.objects
    for name in sorted(set(PUBLIC.values()) - set(described)):
        logging.getLogger(__name__).warning("no page describes %s", name)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("help", Help)
    app.add_lexer("console", BashLexer)  # commands have no prompt here, without which they would be grey
    app.connect("autodoc-process-bases", keep_public_bases)
    app.connect("autodoc-skip-member", skip_requests)
    app.connect("doctree-read", link_names)
    app.connect("doctree-read", drop_citations)
    app.connect("env-check-consistency", check_names)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
