"""One card's words on BART and on T5."""

from __future__ import annotations

import pytest
from torch import nn

from tests.techniques.toys import toy_backbone
from vlbench.errors import UsageError
from vlbench.techniques.peft import translate, words

LEAVES = {
    "bart": {
        "query": {"q_proj"},
        "key": {"k_proj"},
        "value": {"v_proj"},
        "output": {"out_proj"},
        "feed_forward_in": {"fc1"},
        "feed_forward_out": {"fc2"},
    },
    "t5": {
        "query": {"q"},
        "key": {"k"},
        "value": {"v"},
        "output": {"o"},
        "feed_forward_in": {"wi"},
        "feed_forward_out": {"wo"},
    },
}
EACH = pytest.mark.parametrize("kind", LEAVES)


@EACH
def test_words_name_the_linear_layers_of_every_sublayer(kind: str) -> None:
    backbone = toy_backbone(kind)
    found = words(backbone)
    norms = found.pop("norms")
    assert {word: {p.rpartition(".")[2] for p in found[word]} for word in found} == LEAVES[kind]
    for word, paths in found.items():
        assert len(paths) == len(set(paths)) == (4 if word.startswith("feed") else 6)
        assert all(isinstance(backbone.language.get_submodule(path), nn.Linear) for path in paths)
    assert [backbone.language.get_submodule(path) for path in norms] == backbone.norms()


@EACH
def test_words_become_paths_and_names_pass_through(kind: str) -> None:
    backbone = toy_backbone(kind)
    (leaf,) = LEAVES[kind]["key"]
    found = translate(backbone, "target_modules", ["query", leaf])
    assert found == [*words(backbone)["query"], leaf]
    assert translate(backbone, "target_modules", "norms") == words(backbone)["norms"]
    assert translate(backbone, "target_modules", "all-linear") == "all-linear"


def test_a_name_that_fits_no_module_is_refused_with_the_nearest() -> None:
    text = r"params\.target_modules: No module is called 'vlaue'\. Did you mean 'value'\? Known: "
    with pytest.raises(UsageError, match=text) as caught:
        translate(toy_backbone("bart"), "target_modules", ["query", "vlaue"])
    assert "fc1" in str(caught.value) and "feed_forward_in" in str(caught.value)
