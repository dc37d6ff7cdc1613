"""Text of others on its way out: a page, a model card, a table for spreadsheets and the terminal show it as it is."""

import ast
import csv
import io
from types import SimpleNamespace

import pytest
from markdown_it import MarkdownIt
from rich.console import Console
from rich.table import Table as RichTable
from tiny import ROOT

from flows.common.escape import cell, code, fenced, for_spreadsheets, link, markdown, page, say, visible
from flows.common.rows import write_csv
from flows.compare.sections import Section, Table

H = "<script>alert(1)</script> | [x](javascript:alert(1)) `b` ``` ![i](http://e/x) **b** $_$ &lt; \x1b[2J\u202e\n# h"
"""What a caption, a name or a server's reply may be."""
FLOWS = sorted((ROOT / "flows").rglob("*.py"))
DETAILS = dict.fromkeys(("rounds", "best_round", "evaluations", "evaluations_per_prompt", "cpu_seconds"), 1)
SECTION = Section(H, [H], [(H, Table([H, H], [[H, H]]))], [("final", H)])
PAGES = {
    "report.html": {
        "report": SimpleNamespace(
            details=DETAILS | {"method": H, "seed": H, "split": H, H: H}, base={H: 0.5}, aligned={H: 1.0}, best={H: 1.0}
        ),
        "history": {0: {H: 0.5}},
        "trained": [H],
        "choose_by": H,
        "params": H,
        "title": H,
    },
    "diff.html": {"keys": [H, H], "differ": [(H, H, H)], "figures": [(H, 1.0, None)]},
    "compare.html": {"plan": SimpleNamespace(title=H), "lead": H, "missing": [H], "sections": [SECTION], "text": H},
    "compare.md": {"plan": SimpleNamespace(title=H), "lead": H, "missing": [H], "sections": [SECTION], "text": H},
}


def as_html(text):
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(text)


def test_every_template_is_among_the_pages_or_has_its_own_test():
    """tests/flows/export/test_model_card.py writes a card of hostile names."""
    assert {path.name for path in (ROOT / "flows/templates").iterdir()} == {*PAGES, "model_card.md"}


@pytest.mark.parametrize("name", PAGES)
def test_no_text_is_markup_on_a_page(name):
    text = page(name, **PAGES[name])
    html = text if name.endswith(".html") else as_html(text)
    assert "&lt;script&gt;" in html
    for markup in ("<script", 'href="javascript:', 'src="http://e', "<strong>b<", "\x1b", "\u202e"):
        assert markup not in html, markup
    if name.endswith(".md"):
        assert html.count("<h1>") == 1
        assert html.count("<td") == 2
        assert html.count("<pre>") == 1
        assert html.count("<img ") == 1  # the plot, with its caption
        assert "<a " not in html


def test_a_name_is_read_in_markdown_as_it_is_written():
    for text in ("judge_a (trained on)", "-0.5", "+0.153", "a.b", "x ± 0.1", "λ = 2", "update.clip_range=0.1"):
        assert markdown(text) == text
    for text in ("- a", "1. a", "# a", "> a", "---", "***", "~~a~~", "$a$", "_a_", "a|b", "&amp;", "<b>", "[a](b)"):
        (paragraph,) = [one for one in MarkdownIt("commonmark").parse(markdown(text)) if one.type == "inline"]
        assert "".join(child.content for child in paragraph.children) == text
        assert {child.type for child in paragraph.children} <= {"text", "text_special"}


def test_code_has_a_fence_that_its_text_cannot_close():
    assert code("plain") == "`plain`"
    assert code("a`b") == "`` a`b ``"
    assert fenced("a\n```\nb", "python") == "````python\na\n```\nb\n````"
    assert "<script" not in as_html(f"| a |\n|---|\n| {code(H)} |\n")


def test_a_link_leads_to_http_and_to_nothing_else():
    assert link("a", "https://host/x?y=1#z") == "[a](https://host/x?y=1#z)"
    assert link("a", "http://host/p.png", picture=True) == "![a](http://host/p.png)"
    for address in ("javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "JAVASCRIPT:x", "", "//host"):
        assert "href" not in as_html(link("a", address))
    assert as_html(link("a](javascript:x)[b", "http://h/a b)c")).count("<a ") == 1


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1+1"])
def test_a_formula_is_text_to_a_spreadsheet(text):
    assert for_spreadsheets(text) == f"'{text}"


@pytest.mark.parametrize("value", [-0.5, 3, "-0.5", "+1e-5", "-3", "plain", "", None, True, "a=1"])
def test_numbers_and_plain_texts_stay_as_they_are(value):
    assert for_spreadsheets(value) is value


def test_a_file_of_values_has_no_formula_in_its_cells_and_its_header(tmp_path):
    write_csv(tmp_path / "a.csv", [{"=name": "=1+1", "value": -0.5}, {"=name": "plain", "value": float("nan")}])
    rows = list(csv.reader(io.StringIO((tmp_path / "a.csv").read_text())))
    assert rows == [["'=name", "value"], ["'=1+1", "-0.5"], ["plain", ""]]


def test_the_terminal_obeys_no_code_of_a_text(capsys):
    say("a\x1b]0;title\x07b", "\x9b2J", "left \u202eright", "tab\tline\nnext", "half \ud800", "tag \U000e0041")
    shown = capsys.readouterr().out
    assert shown == ("a\\x1b]0;title\\x07b \\x9b2J left \\u202eright tab\tline\nnext half \\ud800 tag \\U000e0041\n")
    assert visible("قطة 火車 👨\u200d👩 é") == "قطة 火車 👨\u200d👩 é"


def test_brackets_of_a_name_are_no_markup_of_rich():
    table, out = RichTable(), io.StringIO()
    table.add_column("name")
    table.add_row(cell("[red]a[/red] [link=http://e]b \x1b[2J"))
    Console(file=out, width=100).print(table)
    assert "[red]a[/red] [link=http://e]b \\x1b[2J" in out.getvalue()


def calls(path):
    """The names of the functions that a file calls; of methods named print there are those of rich alone."""
    functions = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    methods = {each.attr for each in functions if isinstance(each, ast.Attribute)} - {"print"}
    return methods | {each.id for each in functions if isinstance(each, ast.Name)}


@pytest.mark.parametrize(
    ("call", "place"),
    [
        ("print", "flows/common/escape.py"),
        ("Environment", "flows/common/escape.py"),
        ("to_csv", "flows/common/rows.py"),
        ("savefig", "flows/common/plots.py"),
    ],
)
def test_text_leaves_the_program_at_one_place_for_each_target(call, place):
    assert [path.relative_to(ROOT).as_posix() for path in FLOWS if call in calls(path)] == [place]
