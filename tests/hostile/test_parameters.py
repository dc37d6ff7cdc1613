"""Parameter files, overrides, presets and plans, as anybody may send them."""

import json
from functools import partial

import yaml
from hostile_inputs import ENCODINGS, LINKS, NAMES, VALUES, changed, damaged, encoded, put, rewritten
from hypothesis import strategies as st
from tiny import ROOT

from flows.compare.cells import cells_of
from flows.compare.plan import load_plan
from stages.params.file import load_params

SHIPPED = yaml.safe_load((ROOT / "params.yaml").read_text())
TEXT = yaml.safe_dump(SHIPPED, sort_keys=False)
LATENT = yaml.safe_load((ROOT / "presets/tiny-flux.yaml").read_text())
PRESET = {"extends": "../params.yaml", "rollout": {"eta": 0.4}, "policy": {"family": "shapes", "path": None}}
PLAN = {
    "title": "a plan",
    "params": "params.yaml",
    "set": {"report.num_prompts": 4},
    "budget": 4500,
    "seeds": [1, 2],
    "processes": 2,
    "methods": {"one": {"set": {"rollout.eta": 0.4}}, "other": {"params": "preset.yaml"}},
    "variants": {"plain": {"set": {}}},
    "grid": {"update.learning_rate": [1e-4, 2e-4]},
    "reference": "one",
    "metric": "rule_soft",
    "split": "tuning",
}

FRAGMENTS = st.sampled_from(
    [
        "a: &a [1, 2]\nb: *a",
        "<<: {run: {seed: 1}}",
        "update: {learning_rate: 1}",
        "run: {seed: 1, seed: 2}",
        "!!python/object/apply:os.system ['touch outside/owned']",
        "!!python/name:os.system",
        "!include /etc/passwd",
        "!!binary aGk=",
        "!!set {a, b}",
        "!!omap [a: 1]",
        "extends: ../outside/notes.txt",
        "extends: params.yaml",
        "---",
        "...",
        "%YAML 9.9\n---",
        "? [a, b]\n: c",
        "? {a: b}\n: c",
        "null: null",
        "1: 2",
        "0o17: 0x10",
        "run:",
        "\t",
        "  seed: 010",
        "  rounds: 1:30",
        "  eta: 1_000.5",
        "  date: 2026-01-01",
        "  date: 2026-99-99",
        "  seed: .inf",
        "  seed: 1e999",
        "  seed: " + "9" * 5_000,
        "  seed: 61e9540",
        "  method: yes",
        "  text: 'no end",
        "  text: |\n",
        '  text: "\\x1b[2J\\0"',
        "  list: " + "[" * 100,
        "\0",
        "\ufeff",
        "\u2028",
        "\ud800",
    ]
)

BOMBS = st.one_of(
    st.builds(
        lambda width, depth: (
            "a0: &a0 [x, x]\n"
            + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]\n" for n in range(1, depth))
        ),
        st.integers(2, 9),
        st.integers(2, 24),
    ),
    st.builds(lambda mark, depth: "run: " + mark * depth, st.sampled_from("[{-?&!\"'"), st.sampled_from([50, 3_000])),
    st.builds(lambda mark, depth: "run: " + f"{mark} " * depth, st.sampled_from("-?"), st.sampled_from([50, 3_000])),
    st.builds(lambda count: "".join(f"k{n}: 0\n" for n in range(count)), st.sampled_from([100, 20_000])),
    st.builds(lambda count: "run: " + "x" * count, st.sampled_from([100, 1_000_000])),
    st.just("run: &a {seed: *a}"),
    st.just("&a [*a]"),
    st.text(alphabet="ab:{}[]-?&*!|>'\"%@` \n\t#,.0123~<", max_size=60),
)

TREES = st.one_of(changed(SHIPPED), changed(SHIPPED, most=1), changed(SHIPPED | LATENT))
TEXTS = st.one_of(
    TREES.map(partial(yaml.dump, Dumper=yaml.SafeDumper, sort_keys=False, allow_unicode=True)),
    TREES.map(lambda tree: json.dumps(tree, ensure_ascii=False)),
    TREES.map(lambda tree: json.dumps(tree, ensure_ascii=False)),
    rewritten(TEXT, FRAGMENTS),
    BOMBS,
    st.builds(lambda bomb: TEXT + bomb, BOMBS),
)
CONTENTS = st.one_of(st.builds(encoded, TEXTS, ENCODINGS), damaged(TEXT.encode()), st.binary(max_size=40))

KEYS = st.one_of(
    st.sampled_from([f"{section}.{key}" for section, keys in SHIPPED.items() for key in keys]),
    st.sampled_from(["rewards.hps.kind", "guards.kl.most", "policy.lora.rank", "policy", "", ".", "a..b", "a.b.c.d.e"]),
    st.builds(".".join, st.lists(st.one_of(st.sampled_from(list(SHIPPED)), NAMES), min_size=1, max_size=3)),
    st.just("run" + ".a" * 3_000),
)
SETTINGS = st.one_of(
    st.builds(lambda key, value: f"{key}={json.dumps(value)}", KEYS, VALUES),
    st.builds("{}={}".format, KEYS, st.one_of(FRAGMENTS, BOMBS, NAMES)),
    st.one_of(FRAGMENTS, NAMES),
)

EXTENDED = st.one_of(
    st.sampled_from(["a.yaml", "b.yaml", "c.yaml", "./a.yaml", "deep/../a.yaml", "../outside/notes.txt", "."]),
    st.sampled_from(["link.yaml", "itself.yaml", "params.yaml"]),
    VALUES,
)
CHAINS = st.dictionaries(
    st.sampled_from(["a.yaml", "b.yaml", "c.yaml"]),
    st.builds(
        lambda extends, rest: rest | {"extends": extends} if isinstance(rest, dict) else rest,
        st.one_of(EXTENDED, st.just("params.yaml")),
        changed(PRESET, most=1),
    ),
    min_size=1,
)

PLANS = st.one_of(
    changed(PLAN),
    changed(PLAN, most=1),
    st.builds(lambda grid: PLAN | {"grid": grid}, st.dictionaries(KEYS, st.lists(VALUES, max_size=2), max_size=2)),
    st.builds(lambda name: PLAN | {"methods": {name: {}, "b": {}}, "reference": name}, st.one_of(NAMES, st.text())),
    st.builds(lambda path: PLAN | {"params": path}, st.one_of(NAMES, EXTENDED)),
    st.builds(lambda seeds: PLAN | {"seeds": list(range(seeds))}, st.sampled_from([0, 5])),
    st.just(PLAN | {"grid": {f"update.{key}": list(range(30)) for key in SHIPPED["update"]}}),
)


def a_file(case, here):
    path = here / "params.yaml"
    path.write_bytes(case)
    return lambda: load_params(path)


def a_link(what, here):
    put(what, here / "params.yaml", here.parent / "outside/notes.txt")
    return lambda: load_params(here / "params.yaml")


def overrides(case, here):
    return lambda: load_params(ROOT / "params.yaml", case)


def presets(case, here):
    for name, tree in case.items():
        (here / name).write_bytes(encoded(json.dumps(tree, ensure_ascii=False), "utf-8"))
    (here / "params.yaml").write_text(TEXT)
    (here / "link.yaml").symlink_to("a.yaml")
    (here / "itself.yaml").symlink_to("itself.yaml")
    return lambda: load_params(here / next(iter(case)))


def a_plan(case, here):
    content = case if isinstance(case, bytes) else encoded(json.dumps(case, ensure_ascii=False), "utf-8")
    (here / "plan.yaml").write_bytes(content)
    (here / "params.yaml").write_text(TEXT)
    (here / "preset.yaml").write_text(yaml.safe_dump(PRESET | {"extends": "params.yaml"}))
    return lambda: cells_of(load_plan(here / "plan.yaml"), here)


def test_parameter_files(campaign):
    campaign(CONTENTS, a_file, quick=500)


def test_links_in_the_place_of_a_parameter_file(campaign):
    campaign(LINKS, a_link, quick=6)


def test_overrides(campaign):
    campaign(st.lists(SETTINGS, min_size=1, max_size=3), overrides, quick=500)


def test_presets(campaign):
    campaign(CHAINS, presets, quick=100)


def test_plans(campaign):
    campaign(st.one_of(PLANS, PLANS, CONTENTS), a_plan, quick=100)


def test_untouched_inputs_are_accepted(area):
    with area.case() as here:
        a_file(TEXT.encode(), here)()
        presets({"a.yaml": PRESET | {"extends": "params.yaml"}}, here)()
        assert len(a_plan(PLAN, here)()) == 8
