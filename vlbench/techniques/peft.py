"""Any tuner of the peft library (https://github.com/huggingface/peft) that injects layers.

`config` names peft's configuration class and the card gives that class's fields, so a card is all
that each of them takes. peft replaces modules of the pretrained model by layers of its own; what it
makes trainable trains, beside the visual embedding. An extra: pip install 'vlbench[peft]'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ConfigDict, model_validator
from torch import Tensor, nn

from vlbench.cards.checking import Checked, telling
from vlbench.errors import UsageError
from vlbench.techniques.base import Technique
from vlbench.techniques.peft_adalora import CONFIG as ADALORA
from vlbench.techniques.peft_adalora import RankBudget
from vlbench.techniques.peft_config import config_faults, new_config
from vlbench.techniques.peft_injection import inject, refusing, targets, try_layers
from vlbench.techniques.peft_targets import TARGETS, translate

if TYPE_CHECKING:
    from vlbench.backbones.base import Backbone


class PeftParams(Checked):
    """The configuration class; every other key is a field of that class."""

    model_config = ConfigDict(extra="allow")

    config: str
    """Name of peft's configuration class: LoraConfig, IA3Config, ..."""

    @property
    def given(self) -> dict[str, Any]:
        """The fields of that class that the card gives."""
        return dict(self.model_extra or {})

    @model_validator(mode="after")
    def _is_what_peft_takes(self) -> PeftParams:
        if faults := config_faults(self.config, self.given):
            raise telling(faults)
        return self


class Peft(Technique):
    """peft's layers in the pretrained model, one set for all tasks."""

    Params: ClassVar[type[Checked]] = PeftParams
    params: PeftParams

    def __init__(self, params: Checked, sharing: str, tasks: Sequence[str]) -> None:
        super().__init__(params, sharing, tasks)
        self._budget: RankBudget | None = None

    def claims(self, backbone: Backbone) -> set[str]:
        """The sites whose modules it replaces; all of them where that is left to peft."""
        config = self._config(backbone)
        if config.target_modules is None:
            return {site.name for site in backbone.sites()}
        replaced = set(targets(config, backbone.language))
        return {site.name for site in backbone.sites() if {site.module, site.entry} & replaced}

    def attach(self, backbone: Backbone) -> None:
        """Let peft replace modules; what it adds counts as the technique's."""
        language, name, given = backbone.language, self.params.config, self.params.given
        before, self._norms = set(language.parameters()), backbone.norms()
        config = self._config(backbone)
        with refusing(name, given):
            tuner = inject(config, language, backbone.table.device)
            try_layers(language)
        parameters = list(language.parameters())
        if set(tuner.parameters()) - set(parameters):
            raise UsageError(f"params.config: {name} works around the model, not by layers in it.")
        self.injected = nn.ParameterList(p for p in parameters if p not in before)
        self._learnt = [p for p in parameters if p.requires_grad]
        if name == ADALORA:
            self._budget = RankBudget(tuner, given)

    def trained(self, backbone: Backbone, norms: bool) -> list[nn.Module | nn.Parameter]:
        """What peft made trainable, the visual embedding, and norms where the card says so."""
        if norms and backbone.norms() != self._norms:
            raise UsageError(
                f"train.norms: {self.params.config} trains copies in place of the norms, so they "
                "cannot train themselves; should be false."
            )
        return [backbone.visual, *self._learnt, *(self._norms if norms else [])]

    def penalty(self) -> Tensor | None:
        """AdaLoRA's, which holds its factors near orthogonal."""
        return self._budget.penalty() if self._budget else None

    def stepped(self, number: int, total: int) -> None:
        """AdaLoRA takes ranks away."""
        if self._budget:
            self._budget.stepped(number, total)

    def training_state(self) -> dict[str, Any]:
        """What AdaLoRA knows of its ranks' importance."""
        return self._budget.state() if self._budget else {}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        if self._budget:
            self._budget.load_state(state)

    def _config(self, backbone: Backbone) -> Any:
        """peft's configuration with this backbone's modules in it."""
        given = {
            field: translate(backbone, field, value) if field in TARGETS else value
            for field, value in self.params.given.items()
        }
        return new_config(self.params.config, given)
