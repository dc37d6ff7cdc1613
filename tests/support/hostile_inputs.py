"""Strategies for inputs as no program of ours writes them: odd names and values, trees and bytes with some changes."""

import copy

from hypothesis import strategies as st

NAMES = st.sampled_from(
    [
        "",
        ".",
        "..",
        "../../outside/id_rsa",
        "../../../outside/deep",
        "../" * 40 + "etc/passwd",
        "/etc/passwd",
        "/dev/zero",
        "~/id_rsa",
        "a\0b",
        "\x1b[2J\x1b]0;owned\a",
        "\u202egnp.exe",
        "\ud800",
        "x" * 5_000,
        "part-00000.parquet",
        "part-99999.parquet\n",
        "part-٠٠٠٠٠.parquet",
        "weights.safetensors",
        "state.json/../../x",
        "-rf",
        "con",
        "a b;$(touch owned)`x`",
        "${HOME}",
        "{0.__class__}",
        "%s%n",
    ]
)
"""Names that lead somewhere, or that no file system, terminal or formatter likes."""

NUMBERS = st.one_of(
    st.sampled_from([0, -1, 1, 2**31, 2**63, -(2**63) - 1, 2**64, 10**30, 10**400, True, False]),
    st.sampled_from([0.0, -0.0, 1e-320, 1e308, -1e308, float("nan"), float("inf"), float("-inf"), 0.5, 1.5]),
    st.integers(-10, 10_000),
    st.floats(),
)


def nested(depth, is_list):
    value = 0
    for _ in range(depth):
        value = [value] if is_list else {"a": value}
    return value


DEEP = st.builds(nested, st.sampled_from([3, 60, 200]), st.booleans())

VALUES = st.one_of(
    st.none(),
    NUMBERS,
    NAMES,
    st.text(max_size=20),
    st.lists(st.one_of(NUMBERS, NAMES, st.none()), max_size=4),
    st.dictionaries(st.one_of(NAMES, st.text(max_size=5)), st.one_of(NUMBERS, NAMES, st.none()), max_size=3),
    DEEP,
    st.builds(lambda count: dict.fromkeys(map(str, range(count)), 0), st.just(1_000)),
)
"""What may stand in the place of any value."""


def places(tree, at=()):
    """The places of all values below a tree, as tuples of keys and numbers."""
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [place for key, value in inner for place in ((*at, key), *places(value, (*at, key)))]


def at(tree, place):
    for key in place:
        tree = tree[key]
    return tree


@st.composite
def changed(draw, tree, most=3):
    """A copy of a tree of JSON with some values replaced, removed, renamed, doubled or exchanged."""
    tree = copy.deepcopy(tree)
    for _ in range(draw(st.integers(1, most))):
        found = places(tree)
        if not found:
            return draw(VALUES)
        *above, key = draw(st.sampled_from(found))
        holder, do = at(tree, above), draw(st.sampled_from(("replace", "replace", "drop", "rename", "swap", "nudge")))
        value = holder[key]
        if do == "drop":
            del holder[key]
        elif do == "rename" and isinstance(holder, dict):
            holder[draw(st.one_of(NAMES, st.text(max_size=8)))] = holder.pop(key)
        elif do == "swap":
            holder[key] = copy.deepcopy(at(tree, draw(st.sampled_from(found))))
        elif do == "nudge" and isinstance(value, int | float):
            holder[key] = draw(NUMBERS)
        else:
            holder[key] = draw(VALUES)
    return tree


@st.composite
def damaged(draw, content):
    """Bytes with some of them changed, removed, put in or repeated, or with an end of other bytes."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        where = draw(st.integers(0, len(content)))
        match draw(st.sampled_from(("flip", "flip", "cut", "put in", "repeat", "end", "number"))):
            case "flip" if where < len(content):
                content[where] ^= draw(st.integers(1, 255))
            case "cut":
                del content[where : where + draw(st.integers(1, 64))]
            case "repeat":
                content[where:where] = content[where : where + draw(st.integers(1, 64))]
            case "end":
                del content[where:]
            case "number":
                content[where : where + 8] = draw(st.sampled_from((b"\xff" * 8, b"\0" * 8, b"\xff" * 7 + b"\x7f")))
            case _:
                content[where:where] = draw(st.binary(min_size=1, max_size=16))
    return bytes(content)


@st.composite
def rewritten(draw, text, fragments):
    """A text of lines with some of them removed, repeated, exchanged, or beside a fragment."""
    lines = text.splitlines(keepends=True)
    for _ in range(draw(st.integers(1, 4))):
        where = draw(st.integers(0, len(lines) - 1)) if lines else 0
        match draw(st.sampled_from(("drop", "repeat", "swap", "fragment", "fragment", "inside"))):
            case "drop" if lines:
                del lines[where]
            case "repeat" if lines:
                lines.insert(draw(st.integers(0, len(lines))), lines[where])
            case "swap" if lines:
                other = draw(st.integers(0, len(lines) - 1))
                lines[where], lines[other] = lines[other], lines[where]
            case "inside" if lines:
                place = draw(st.integers(0, len(lines[where])))
                lines[where] = lines[where][:place] + draw(fragments) + lines[where][place:]
            case _:
                lines.insert(where, draw(fragments) + "\n")
    return "".join(lines)


ENCODINGS = st.sampled_from(("utf-8", "utf-8", "utf-8", "utf-8", "utf-16", "utf-32", "utf-8-sig", "latin-1", "utf-7"))


def encoded(text, encoding):
    return text.encode(encoding, errors="surrogatepass" if encoding.startswith("utf-") else "replace")


LINKS = st.sampled_from(("outside", "itself", "folder", "zero", "pipe", "nowhere"))
"""What lies in the place of a file."""


def put(what, path, outside):
    """Put something else in the place of a file or folder."""
    import os
    import shutil

    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    match what:
        case "outside":
            path.symlink_to(outside)
        case "itself":
            path.symlink_to(path.name)
        case "folder":
            path.mkdir()
        case "zero":
            path.symlink_to("/dev/zero")
        case "pipe":
            os.mkfifo(path)
        case "nowhere":
            path.symlink_to(path.parent / "nowhere")
