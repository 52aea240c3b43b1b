"""``${NAME}`` and ``${NAME:-default}`` inside values, replaced after parsing: a value can never become structure.

``$${`` stands for a literal ``${``. What a variable holds is not looked at again. An unset variable without a default
is an error; a set but empty one is replaced by nothing, or by its default, as in a shell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping as Map
from typing import Final

from sidecar.config.document import Mapping, Node, Scalar, Sequence
from sidecar.errors import Problem

MAX_VALUE: Final = 65536
_REFERENCE: Final = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{")


def replace(node: Node, environ: Map[str, str], path: str = "") -> list[Problem]:
    """Replace in every scalar below ``node``, in place; keys are left alone."""
    problems: list[Problem] = []
    if isinstance(node, Scalar):
        if "${" in node.text:
            _replace_scalar(node, environ, path, problems)
    elif isinstance(node, Sequence):
        for index, item in enumerate(node.items):
            problems += replace(item, environ, f"{path}[{index}]")
    elif isinstance(node, Mapping):
        for key, item in node.entries.items():
            problems += replace(item, environ, f"{path}.{key}" if path else key)
    return problems


def _replace_scalar(node: Scalar, environ: Map[str, str], path: str, problems: list[Problem]) -> None:
    def value(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        name, default = match[1], match[2]
        if name is None:
            problems.append(Problem(node.file, node.line, path, "'${' without a name and '}'; '$${' is a literal one"))
            return ""
        found = environ.get(name)
        if found is None and default is None:
            problems.append(Problem(node.file, node.line, path, f"${{{name}}} is not set, and has no default"))
            return ""
        return found or default or ""

    node.text = _REFERENCE.sub(value, node.text)
    if len(node.text) > MAX_VALUE:
        problems.append(Problem(node.file, node.line, path, f"is longer than {MAX_VALUE} characters when replaced"))
        node.text = ""
    elif "\0" in node.text:
        problems.append(Problem(node.file, node.line, path, "holds a NUL"))
        node.text = ""
