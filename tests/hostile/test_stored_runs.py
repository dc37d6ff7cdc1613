"""Runs that lay in a shared store or came from elsewhere: JSON under right seals, links, odd neighbours."""

import pytest
from hostile_inputs import LINKS, NAMES, changed, damaged, put
from hostile_runs import OPERATIONS, write_forged
from hypothesis import strategies as st

WHOLE = ("list", "read", "verify", "prune", "adopt", "resume", "repair", "link out", "metrics", "trace", "evaluations")
NEIGHBOURS = st.sampled_from(
    [
        "rounds/0001.bak/score.json",
        "rounds/0001 (copy)/score.json",
        "rounds/٠٠٠٢/score.json",
        "rounds/9999999999999999999999/score.json",
        "rounds/0002/rewards/part-00000.parquet",
        "rounds/0001/rewards/part-00007.parquet",
        "rounds/0001/rewards/part-00000.parquet.bak",
        "rounds/0001/rewards/\x1b[2J",
        "metrics/0001 (copy).json",
        "metrics/0001.json~",
        "metrics/9.json",
        "metrics/00000000000000000000000001.json",
        "evaluations/0002/evaluate.json",
        "evaluations/x-y/evaluate.json",
        "evaluations/0002-tuning.bak/evaluate.json",
        "evaluations/-1-test/evaluate.json",
        ".former/0001-score/score.json",
        ".former/0001-nothing/score.json",
        ".former/0001-score-x/score.json",
        ".former/9-../score.json",
        "prompts/train/part-00001.parquet",
        "prompts/train.txt",
        "base/weights.safetensors",
        "stop",
        "../zzzz/run.json",
        "../zzzz/params.yaml",
        ".config/autostart/x.desktop",
    ]
)


def parts(stored):
    """Changes of a stored run."""
    trees = st.sampled_from(sorted(stored.trees)).flatmap(
        lambda name: st.tuples(st.just("forge"), st.just(name), changed(stored.trees[name]), st.booleans())
    )
    texts = st.sampled_from(["params.yaml", "HEAD", "lock", *sorted(stored.trees)]).flatmap(
        lambda name: st.tuples(st.just("write"), st.just(name), damaged(stored.files[name]))
    )
    heads = st.tuples(
        st.just("write"),
        st.sampled_from(["HEAD", "lock"]),
        st.sampled_from([b"", b"\xb2", b"9" * 5_000, b"1000000000", b"-1", b"0\n0", b"1", b"\xd9\xa3", b"1 \x1b[2J"]),
    )
    linked = st.tuples(st.just("put"), st.one_of(st.sampled_from(sorted(stored.files)), NEIGHBOURS), LINKS)
    folders = st.sampled_from(["rounds", "rounds/0001", "rounds/0001/rewards", "metrics", "base", "prompts/train"])
    temporary = st.sampled_from([".x.tmp", "rounds/.y.tmp", "rounds/0001/.rewards.1.tmp", ".former", "lock"])
    places = st.tuples(st.just("put"), st.one_of(folders, temporary), LINKS)
    lost = st.tuples(st.just("lose"), st.sampled_from(sorted(stored.files)))
    planted = st.tuples(st.just("write"), NEIGHBOURS, st.sampled_from([b"", b"{}", b"1\n", b"\xff"]))
    named = st.sampled_from(sorted(name for name in stored.trees if stored.trees[name].get("outputs"))).flatmap(
        lambda name: st.tuples(st.just("forge"), st.just(name), renamed(stored.trees[name]), st.booleans())
    )
    return st.one_of(trees, trees, named, texts, heads, linked, places, lost, planted)


@st.composite
def renamed(draw, manifest):
    """A manifest whose outputs or files have other names."""
    manifest = manifest | {"outputs": dict(manifest["outputs"]) if isinstance(manifest["outputs"], dict) else {}}
    for name, out in list(manifest["outputs"].items()):
        if draw(st.booleans()):
            files = {draw(NAMES): digest for digest in out["files"].values()}
            manifest["outputs"][name] = out | {"files": files}
        elif draw(st.booleans()):
            manifest["outputs"][draw(NAMES)] = manifest["outputs"].pop(name)
    return manifest


def do(change, run, outside):
    kind, name, *more = change
    path = run.path / name
    if any(above.is_symlink() or (above.exists() and not above.is_dir()) for above in (path.parent, *path.parents)):
        return  # an earlier change has put something else there
    match kind:
        case "forge":
            if not path.is_dir():
                write_forged(path, more[0], fitting=more[1])
        case "write":
            if not path.is_dir():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)
                path.write_bytes(more[0])
        case "put":
            put(more[0], path, outside / ("deep" if path.is_dir() or ".tmp" in name else "id_rsa"))
        case "lose":
            if not path.is_dir():
                path.unlink(missing_ok=True)


@pytest.fixture
def meet(stored):
    def a_run(case, here):
        changes, operation = case
        run = stored.copy(here)
        for change in changes:
            do(change, run, here.parent / "outside")
        return lambda: OPERATIONS[operation](run)

    return a_run


def test_runs_of_others(campaign, stored, meet):
    changes = st.lists(parts(stored), min_size=1, max_size=2)
    campaign(st.tuples(changes, st.sampled_from(WHOLE)), meet, quick=80)


def test_an_untouched_run_is_accepted(area, meet):
    for operation in OPERATIONS:
        with area.case() as here:
            meet(((), operation), here)()
