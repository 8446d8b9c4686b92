"""Cards: flat TOML files that declare methods, tasks, suites, backbones; no torch is imported."""

from vlbench.cards.backbone import BackboneCard as BackboneCard
from vlbench.cards.checking import Checked as Checked
from vlbench.cards.load import card_hash as card_hash
from vlbench.cards.load import find_methods as find_methods
from vlbench.cards.load import find_tasks as find_tasks
from vlbench.cards.load import load_backbone_card as load_backbone_card
from vlbench.cards.load import load_method as load_method
from vlbench.cards.load import load_suites as load_suites
from vlbench.cards.load import load_task as load_task
from vlbench.cards.schema import MethodCard as MethodCard
from vlbench.cards.schema import Suite as Suite
from vlbench.cards.schema import TaskCard as TaskCard
from vlbench.cards.schema import TrainSettings as TrainSettings
