"""The contact sheet."""

from pathlib import Path

from g2rpo.policies.shapes import ShapesPolicy
from g2rpo.shapes.captions import captions
from g2rpo.shapes_build.sheet import SHEET_CAPTIONS, draw_sheet


def test_a_sheet_is_a_png_of_held_out_captions(tmp_path: Path):
    draw_sheet(tmp_path / "images" / "sheet.png", ShapesPolicy.load(), texts=SHEET_CAPTIONS[:2])
    assert (tmp_path / "images" / "sheet.png").read_bytes().startswith(b"\x89PNG")
    assert set(SHEET_CAPTIONS) <= set(captions("test"))
    assert len(SHEET_CAPTIONS) == 24
