"""Six steps of training against the authors': optimiser, clipping, schedule, one task a batch."""

from __future__ import annotations

import json
from typing import Any

import torch
from safetensors.torch import load_file

from vlbench.techniques.authors_names import authors_name
from vlbench.techniques.freezing import frozen_checksum, trained_parameters
from vlbench.training.optimiser import AdamW, linear_schedule, parameter_groups


def test_six_steps_end_at_the_authors_weights(golden: Any, golden_folder: Any) -> None:
    start = golden("single_adapter")
    model = start.model
    facts = json.loads((golden_folder / "optim__bart__single_adapter.json").read_text())
    final = load_file(str(golden_folder / "optim__bart__single_adapter.safetensors"))
    groups = parameter_groups(model, facts["weight_decay"])
    optimiser = AdamW(groups, lr=facts["lr"])
    schedule = linear_schedule(optimiser, facts["total_steps"], warmup_ratio=0.1)
    names = {p: authors_name(name, "vqa") for name, p in trained_parameters(model).items()}
    spared = {names[p] for p in groups[1]["params"]}
    assert spared == set(facts["no_decay_trainables"])
    before = frozen_checksum(model)
    for step in facts["steps"]:
        batch = start.batch(step["task"])
        value = start.loss(model(batch), batch)
        assert abs(value.item() - step["loss"]) <= 1e-5
        value.backward()
        norm = torch.nn.utils.clip_grad_norm_(names, 5.0)
        assert abs(norm.item() - step["grad_norm_before_clip"]) <= 1e-4
        assert schedule.get_last_lr()[0] == step["lr_used"]
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
    assert frozen_checksum(model) == before
    for parameter, name in names.items():
        assert (parameter - final[f"final/{name}"]).abs().max() <= 4e-6, name
