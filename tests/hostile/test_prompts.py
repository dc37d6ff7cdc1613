"""Lists of prompts in each layout, as they come from a hub or a colleague."""

import csv
import io
import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
from hostile_inputs import ENCODINGS, LINKS, NAMES, changed, damaged, encoded, put, rewritten
from hypothesis import strategies as st
from tiny import ROOT

from flows.upkeep.import_prompts import import_prompts
from stages.params.file import load_params
from stages.texts.layouts import find_split, read_split
from stages.texts.lists import check_disjoint, full_list

ROWS = [{"prompt": "a red circle", "style": "photo", "rank": 1}, {"prompt": "a blue square", "style": None, "rank": 2}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
PARAMS = load_params(ROOT / "params.yaml")

TEXTS = st.one_of(NAMES, st.text(max_size=30), st.sampled_from(["a red circle", "$_$", "=1+1", "<script>", "\u200b"]))
FRAGMENTS = st.sampled_from(
    [
        "",
        "null",
        '"a text"',
        "[]",
        "{}",
        '{"prompt": "a"}{"prompt": "b"}',
        '{"prompt": "a", "prompt": "b"}',
        '{"prompt": null}',
        '{"prompt": "a", "text": "b"}',
        '{"text": "a"}',
        '{"prompt": ["a"]}',
        '{"prompt": "a", "x": NaN, "y": -Infinity}',
        '{"prompt": "a", "x": 1e999}',
        '{"prompt": "\\ud800"}',
        '{"prompt": "a", "\\ud800": 1}',
        '{"prompt": "a", "x": ' + "9" * 5_000 + "}",
        "[" * 50,
        "[" * 100_000,
        '{"a":' * 20_000,
        '"unclosed',
        "a,b,c",
        '"a""b"',
        "\ufeff",
        "\0",
        "\x1a",
        "\x85",
        "\u2028",
        "\u200b",
        "a" * 200_000,
    ]
)


def as_csv(rows, delimiter=","):
    out = io.StringIO()
    names = list(dict.fromkeys(str(name) for row in rows if isinstance(row, dict) for name in row))
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerow(names)
    writer.writerows([row.get(name) for name in names] for row in rows if isinstance(row, dict))
    return out.getvalue()


TREES = st.one_of(changed(ROWS), st.lists(st.builds(lambda text: {"prompt": text}, TEXTS), max_size=5))
LISTS = TREES.map(lambda tree: tree if isinstance(tree, list) else [tree])
MANY_KEYS = st.just(json.dumps([{"prompt": "a"} | dict.fromkeys(map(str, range(30_000)), 0)]))
FRAGMENT_BYTES = st.builds(encoded, FRAGMENTS, ENCODINGS)

TWO = (
    ["a red circle", "a blue square"],
    ["", "a"],
    [None, None],
    [b"\xff", b"b"],
    [1, 2],
    [1.5, float("nan")],
    [True, False],
    [["a"], []],
    [{"a": 1}, {"a": None}],
    [Decimal("1.50"), None],
    [{"bytes": b"x", "path": "a.png"}, None],
)
COLUMNS = st.dictionaries(
    st.sampled_from(["prompt", "text", "caption", "x", "", "__index_level_0__"]), st.sampled_from(TWO)
)


def as_parquet(columns, rows=2, dictionary=False):
    arrays = {name: pa.array(values[:rows]) for name, values in columns.items()}
    if dictionary:
        arrays = {name: a.dictionary_encode() if pa.types.is_string(a.type) else a for name, a in arrays.items()}
    out = io.BytesIO()
    pq.write_table(pa.table(arrays), out)
    return out.getvalue()


SOUND = {
    "txt": b"a red circle\na blue square\n",
    "jsonl": LINES.encode(),
    "json": json.dumps(ROWS).encode(),
    "csv": as_csv(ROWS).encode(),
    "parquet": as_parquet({"prompt": TWO[0], "x": TWO[4]}),
}
CONTENTS = {
    "txt": st.lists(TEXTS, max_size=6).map("\n".join),
    "jsonl": st.one_of(LISTS.map(lambda rows: "\n".join(map(json.dumps, rows))), rewritten(LINES, FRAGMENTS)),
    "json": st.one_of(TREES.map(json.dumps), rewritten(json.dumps(ROWS, indent=1), FRAGMENTS), MANY_KEYS),
    "csv": st.one_of(LISTS.map(as_csv), rewritten(as_csv(ROWS), FRAGMENTS)),
    "tsv": LISTS.map(lambda rows: as_csv(rows, "\t")),
}
BYTES = {kind: st.builds(encoded, content, ENCODINGS) for kind, content in CONTENTS.items()}
BYTES["parquet"] = st.builds(as_parquet, COLUMNS, st.integers(0, 2), st.booleans())
ANY = st.one_of(*BYTES.values(), *map(damaged, SOUND.values()), st.sampled_from(list(SOUND.values())))

KINDS = st.sampled_from([*SOUND, "tsv"])
PLACES = [
    "train.{}",
    "train.{}",
    "train_2.{}",
    "train/part-00000.{}",
    "train/part-00001.{}",
    "train-00000-of-00001.{}",
    "train-00001-of-00002.{}",
    "data/train-00000-of-00002.{}",
    "TRAIN.{}",
]
FILES = KINDS.flatmap(
    lambda kind: st.tuples(
        st.builds(str.format, st.sampled_from(PLACES), st.just(kind)),
        st.one_of(BYTES[kind], damaged(SOUND.get(kind, SOUND["txt"])), st.just(SOUND.get(kind, b"")), FRAGMENT_BYTES),
    )
)
ODD_FILES = st.tuples(
    st.one_of(
        st.sampled_from(["train_²-of-³.txt", "train-٣.txt", "train/.hidden.txt", "train/a/b.txt", "train-\x1b[2J.txt"]),
        st.sampled_from(["train-00000-of-99999999999999999999999.txt", "train/part-00000.parquet/x.txt", "test.txt"]),
        st.sampled_from(["train.JSONL", "train.jsonl.gz", "train", "train.txt\n", "train-\udcff.txt", "train .txt"]),
        st.just(f"train{'9' * 200}.jsonl"),
    ),
    ANY,
)
FOLDERS = st.one_of(
    st.lists(FILES, min_size=1, max_size=1), st.lists(st.one_of(FILES, FILES, ODD_FILES), min_size=1, max_size=3)
).map(dict)


def fill(files, folder):
    """Write files; a name that is a folder already, or whose folder is a file, is left out."""
    folder.mkdir()
    for name, content in files.items():
        path = folder / name
        if not path.is_dir() and not any(above.is_file() for above in path.parents):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return folder


def a_list(files, here):
    folder = fill(files, here / "lists")
    return lambda: read_split(find_split(folder, "train"))


def an_import(case, here):
    files, options = case
    folder = fill(files, here / "lists")
    source = folder / next(iter(files)) if options["one"] else folder
    told = {name: value for name, value in options.items() if name != "one"}
    return lambda: list(map(str, import_prompts(source, here / "out", **told)))


def lists_of_a_run(files, here):
    folder = fill({"test.txt": b"a red circle\n", "tuning.txt": b"a blue circle\n"} | files, here / "lists")
    params = PARAMS.with_values({"prompts.path": str(folder)})

    def read():
        check_disjoint(params)
        return full_list(params, "train").digest

    return read


def a_link(case, here):
    what, place = case
    put(what, here / "lists" / place, here.parent / "outside/notes.txt")
    return lambda: read_split(find_split(here / "lists", "train"))


OPTIONS = st.fixed_dictionaries(
    {
        "one": st.booleans(),
        "field": st.one_of(st.none(), st.sampled_from(["prompt", "x", ""]), NAMES),
        "tuning": st.sampled_from([0, 1, 10**30]),
        "test": st.sampled_from([0, 0, 1]),
        "metadata": st.booleans(),
    }
)
LINKED = st.sampled_from(["train.txt", "train.jsonl", "train.parquet", "train", "data", "train/part-00000.parquet"])


def test_lists(campaign):
    campaign(FOLDERS, a_list, quick=300)


def test_imports(campaign):
    campaign(st.tuples(FOLDERS, OPTIONS), an_import, quick=100)


def test_lists_of_a_run(campaign):
    campaign(FOLDERS, lists_of_a_run, quick=60)


def test_links_in_the_place_of_a_list(campaign):
    campaign(st.tuples(LINKS, LINKED), a_link, quick=30)


def test_untouched_lists_are_accepted(area):
    for kind, content in SOUND.items():
        with area.case() as here:
            assert a_list({f"train.{kind}": content}, here)().texts == ("a red circle", "a blue square")
