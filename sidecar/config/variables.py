"""``${NAME}`` and ``${NAME:-default}`` inside values, replaced after parsing: a value can never become structure.

``$${`` stands for a literal ``${``. What a variable holds is not looked at again. An unset variable without a default
is an error; a set but empty one is replaced by nothing, or by its default, as in a shell. A value that holds a variable
is read as what its key asks for, quotes or not, since between ``{ }`` YAML wants the quotes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping as Map
from typing import Final

from sidecar.config.document import MAX_FILE, Mapping, Node, Scalar, Sequence
from sidecar.errors import Problem

MAX_VALUE: Final = 65536
MAX_ALL: Final = MAX_FILE
"""Characters of all replaced values together: a small file must not grow without bound."""
_UNDECODABLE: Final = re.compile("[\ud800-\udfff]")
_REFERENCE: Final = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{")


def replace(document: Node, environ: Map[str, str]) -> list[Problem]:
    """Replace in every scalar below ``document``, in place; keys are left alone."""
    replacing = _Replacing(environ)
    replacing.walk(document, "")
    return replacing.problems


class _Replacing:
    def __init__(self, environ: Map[str, str]) -> None:
        self.problems: list[Problem] = []
        self._environ = environ
        self._left = MAX_ALL

    def walk(self, node: Node, path: str) -> None:
        if isinstance(node, Scalar):
            if "${" in node.text:
                self._scalar(node, path)
        elif isinstance(node, Sequence):
            for index, item in enumerate(node.items):
                self.walk(item, f"{path}[{index}]")
        elif isinstance(node, Mapping):
            for key, item in node.entries.items():
                self.walk(item, f"{path}.{key}" if path else key)

    def _scalar(self, node: Scalar, path: str) -> None:
        wrong: list[str] = []
        text = _REFERENCE.sub(lambda match: self._value(match, wrong), node.text)
        if "\0" in text or _UNDECODABLE.search(text):
            wrong.append("holds NUL or bytes that are not UTF-8 once its variables are replaced")
        if len(text) > MAX_VALUE:
            wrong.append(f"is longer than {MAX_VALUE} characters once its variables are replaced")
        self._left -= len(text)
        if self._left < 0 and not wrong:
            wrong.append(f"makes all replaced values together longer than {MAX_ALL} characters")
        self.problems += [Problem(node.file, node.line, path, message) for message in wrong]
        if wrong:
            # As if the key were absent, so that one mistake is told once.
            node.text, node.is_plain = "", True
        else:
            node.is_replaced = "$${" not in node.text
            node.text = text

    def _value(self, match: re.Match[str], wrong: list[str]) -> str:
        if match[0] == "$${":
            return "${"
        name, default = match[1], match[2]
        if name is None:
            wrong.append("'${' is not followed by NAME} or NAME:-default} (for a literal '${' write '$${')")
            return ""
        if default is not None and "${" in default:
            wrong.append(f"the default of ${{{name}}} holds another variable, which is not replaced")
            return ""
        found = self._environ.get(name)
        if found is None and default is None:
            wrong.append(f"the variable {name} is not set and has no default (write ${{{name}:-default}})")
            return ""
        return found or default or ""
