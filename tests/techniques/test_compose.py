from __future__ import annotations

from functools import partial

import pytest
import torch

from tests.techniques.models import adapted
from tests.techniques.toys import toy_batch
from vlbench.cards import MethodCard
from vlbench.errors import CardError, UsageError
from vlbench.techniques import find_technique, resolve_method
from vlbench.techniques.adapt import trained_parameters

composed = partial(adapted, "bart")
PARAMS = {"adapter": {"reduction": 4}, "prompt": {"length": 3, "hidden": 8}}


def test_both_techniques_work_as_they_do_alone() -> None:
    both = composed(technique="adapter+prompt", params=PARAMS)
    alone = composed(technique="adapter", params=PARAMS["adapter"])
    names = trained_parameters(both)
    assert any(name.startswith("technique.parts.adapter.sites.") for name in names)
    assert any(name.startswith("technique.parts.prompt.") for name in names)
    hidden, _ = both.backbone.encode(toy_batch())
    assert hidden.shape[1] == alone.backbone.encode(toy_batch())[0].shape[1] + 3
    with torch.no_grad():
        for name, parameter in names.items():
            if name.startswith("technique.parts.adapter.") and ".up." in name:
                parameter.zero_()  # the identity
    prompt = composed(technique="prompt", params=PARAMS["prompt"])
    with torch.no_grad():
        for name, parameter in trained_parameters(prompt).items():
            twin = name.replace("technique.", "technique.parts.prompt.")
            parameter.copy_(names.get(twin, names.get(name)))  # type: ignore[arg-type]
        torch.testing.assert_close(both(toy_batch()), prompt(toy_batch()))


def test_parameters_are_those_of_the_parts() -> None:
    technique = find_technique("adapter+prompt")
    assert set(technique.Params.model_fields) == {"adapter", "prompt"}
    assert technique.sharings == {"task", "all"}  # what both can


def test_two_that_change_one_site_are_refused_before_anything_is_built() -> None:
    with pytest.raises(UsageError, match="'adapter' and 'compacter' cannot be composed: both"):
        composed(technique="adapter+compacter")
    with pytest.raises(UsageError, match="names one technique twice"):
        composed(technique="adapter+adapter")


def test_a_fault_of_a_part_is_told_with_its_place() -> None:
    with pytest.raises(CardError, match=r"params\.adapter\.reductoin.*Did you mean 'reduction'"):
        composed(technique="adapter+prompt", params={"adapter": {"reductoin": 4}})
    with pytest.raises(UsageError, match="Did you mean 'adapter'"):
        composed(technique="adaptor+prompt")
    with pytest.raises(UsageError, match="cannot share 'up'"):
        composed(technique="adapter+prompt", sharing="up")


def test_the_user_sets_a_parts_parameter_by_its_dotted_name() -> None:
    card = MethodCard(name="mine", title="Mine", technique="adapter+prompt", params=PARAMS)
    found = resolve_method(card, "mini-bart", "image-text", ["params.prompt.length=9"])
    assert found.params["prompt"] == {"length": 9, "hidden": 8}
    assert found.params["adapter"] == {"reduction": 4}
    with pytest.raises(UsageError, match=r"Did you mean 'params\.prompt\.length'"):
        resolve_method(card, "mini-bart", "image-text", ["params.prompt.lenght=9"])
