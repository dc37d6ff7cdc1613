"""Read and write YAML: parameters, plans, presets and the files that they extend, values of --set, Prefect's files.

Scalars are those of YAML 1.2: `yes`, `1:30` and `2026-01-01` are text, `010` is 10, `1e-4` is a float. What means one
thing to a reader and another to the program is refused: aliases, repeated keys, tags, keys that are no text.
"""

import math
import re
from pathlib import Path
from typing import Any

import yaml

from g2rpo.messages import plain, shown
from stages.params.decoding import control_in, decoded, line_of

MOST_DEPTH = 50
"""Collections within each other; our own files need 5, and each level takes stack of the interpreter."""
MOST_BYTES = 1_000_000
"""Size of a file; our own have 8 kB. A larger one takes seconds."""

_LIBYAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml, a tenth of the time, where PyYAML has it
_PLAIN, _TEXT = "plain", "tag:yaml.org,2002:str"
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **{f"{sign}{word}": float(f"{sign}inf") for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")},
}
_INTEGER = re.compile(r"[-+]?[0-9]{1,400}")  # a longer one is no number that anything here counts
_BASED = re.compile(r"0(?:o[0-7]{1,400}|x[0-9a-fA-F]{1,400})")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")


def read_mapping(path: Path, what: str, given_by: str) -> dict[str, Any]:
    """Return the mapping in a YAML file.

    Args:
        path: The file.
        what: Its name in an error, such as "A plan".
        given_by: The option that names it, such as "--plan FILE".

    Raises:
        ValueError: If the file cannot be read, or holds no mapping; with the line where there is one.
    """
    try:
        if not path.is_file():
            problem = "is a folder" if path.is_dir() else "leads nowhere" if path.is_symlink() else "does not exist"
            raise ValueError(f"{what} is required, got {plain(str(path))}, which {problem}. Correct {given_by}.")
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ValueError(
            f"{what} is required, got {plain(str(path))}, which cannot be read: {error.strerror}. Correct {given_by}."
        ) from None
    tree = parse(raw, str(path))
    if not isinstance(tree, dict):
        raise ValueError(f"{path} must hold keys and values, got {type(tree).__name__}. Start from a shipped file.")
    return tree


def read_extending(path: Path, what: str, given_by: str) -> list[tuple[Path, dict[str, Any]]]:
    """Return a file and the files that it extends, each with its mapping; the last one extends none.

    Raises:
        ValueError: As `read_mapping` for each file, and if the files extend each other in a circle.
    """
    files = list[tuple[Path, dict[str, Any]]]()
    while True:
        tree = read_mapping(path, what, given_by)
        if path.resolve() in (file.resolve() for file, _ in files):
            raise ValueError(f"{given_by}: files that form no circle are required, got one at {path}. Break it.")
        extended = tree.pop("extends", None)
        files.append((path, tree))
        if extended is None:
            return files
        if not isinstance(extended, str):
            raise ValueError(
                f"extends: a file name is required, got {shown(extended)} in {path}. Name one, as ../params.yaml."
            )
        given_by = f"extends in {path}"
        path = path.parent / extended


def parse(raw: bytes, where: str) -> Any:
    """Return the value of a YAML document.

    Args:
        raw: The document.
        where: Its place in an error, such as a path.

    Raises:
        ValueError: With the line, if it is not UTF-8 or not YAML, is too large or too deep, or has an alias, a
            repeated key, a tag, or a key that is no text.
    """
    if len(raw) > MOST_BYTES:
        raise ValueError(f"{where}: at most {MOST_BYTES:,} bytes of YAML are required, got more. Name another file.")
    text = decoded(raw, where)
    try:
        nodes = _Nodes(text)
        try:
            root = nodes.get_single_node()
        finally:
            nodes.dispose()
        return None if root is None else _value(root, set())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 1 if mark is None else min(mark.line, text.rstrip("\n").count("\n")) + 1
        raise ValueError(
            f"line {line} of {where}: YAML is required, got: {plain(error.problem or '')}. Correct it."
        ) from None
    except yaml.reader.ReaderError as error:
        code = error.character if isinstance(error.character, int) else ord(error.character)
        line = line_of(text, text.find(chr(code)))  # its position counts bytes
        raise ValueError(f"line {line} of {where}: YAML is required, got U+{code:04X}. Remove it.") from None


def dumped(value: Any) -> str:
    """Return a value as YAML of several lines, which YAML 1.1 and 1.2 read alike."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False)


def dumped_line(value: Any) -> str:
    """Return a value as YAML of one line. Example: `[judge_a, judge_b]`."""
    text = yaml.dump(value, Dumper=_Dumper, sort_keys=False, default_flow_style=True, width=math.inf)
    return text.removesuffix("...\n").removesuffix("\n")


class _Nodes(_LIBYAML):  # type: ignore[misc, valid-type]
    """Composes the nodes of a document; it tells plain scalars from quoted ones, and refuses deep ones."""

    _depth = 0

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        """Return the tag of a node without one."""
        return _PLAIN if kind is not yaml.ScalarNode or implicit[0] else _TEXT

    def descend_resolver(self, current_node: yaml.Node | None, current_index: Any) -> None:
        """Count a level."""
        self._depth += 1
        if self._depth > MOST_DEPTH + 1 and current_node is not None:
            raise _refusal(current_node, f"more than {MOST_DEPTH} levels of lists and keys")

    def ascend_resolver(self) -> None:
        """Leave a level."""
        self._depth -= 1


def _value(node: yaml.Node, seen: set[int]) -> Any:
    """Return the value of a node; `seen` holds the nodes above and before it."""
    if id(node) in seen:
        raise _refusal(node, "an alias of the value here, write the value out where it is needed")
    seen.add(id(node))
    if node.tag not in (_PLAIN, _TEXT):
        raise _refusal(node, f"the tag {node.tag}")
    if isinstance(node, yaml.ScalarNode):
        if control := control_in(node.value):
            raise _refusal(node, f"the control character U+{ord(control):04X}")
        return _scalar(node.value) if node.tag == _PLAIN else node.value
    if isinstance(node, yaml.SequenceNode):
        return [_value(inner, seen) for inner in node.value]
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = _value(key_node, seen)
        if not isinstance(key, str):
            raise _refusal(key_node, f"the key {shown(key)}, which is no text: quote it")
        if key in mapping:
            raise _refusal(key_node, f"the key {shown(key)} a second time")
        mapping[key] = _value(value_node, seen)
    return mapping


def _scalar(text: str) -> Any:
    """Return the value of a plain scalar; a number that no float can hold stays text."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    number = float(text) if _FLOAT.fullmatch(text) else math.inf
    return number if math.isfinite(number) else text


def _refusal(node: yaml.Node, got: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=got, problem_mark=node.start_mark)


class _Dumper(yaml.SafeDumper):
    """Quotes text that is a number by YAML 1.2 too, and writes a repeated value out, without an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write every value out."""
        return True


for _pattern in (_INTEGER, _BASED, _FLOAT):
    _Dumper.add_implicit_resolver("tag:g2rpo,number", re.compile(f"(?:{_pattern.pattern})$"), list("+-.0123456789"))
