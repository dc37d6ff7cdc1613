import torch

from flows.training.provenance import origin_links, versions
from stages.disk.files import value_digest


def test_the_code_is_named_by_a_digest_of_files():
    told = versions()
    assert told["torch"] == torch.__version__
    assert len(told["code"]) == 12
    assert told["code"] != value_digest([])[:12]  # of no file, as where the package is looked for in another folder


def test_a_checkout_is_named_by_its_commit(monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "quick-fox")
    links = origin_links()
    assert links["dvc_experiment"] == "quick-fox"
    assert len(links["git_commit"]) == 40
    assert links["git_dirty"] in ("true", "false")
