"""Files that a dataset's own server takes: answers to the questions whose labels are not public."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, cast

from vlbench.data.example import Example
from vlbench.errors import UsageError, nearest
from vlbench.outside import load

Answers = Mapping[str, str]


class Submission(NamedTuple):
    """The contents of a file, and what to warn of."""

    text: str
    suffix: str = ".json"
    unreadable: int = 0  # answers that name no choice, and stand as the first one


Format = Callable[[Sequence[Example], Answers], Submission]


def value_answers(examples: Sequence[Example], answers: Answers) -> Submission:
    """VALUE's multiple choice: an object from question id to the number of the choice.

    An answer that does not begin with `a` and a digit counts as choice 0. The authors of VL-Adapter
    look at its second character only, whatever the first one is.
    """
    choices = {example.id: re.match(r"a(\d)", answers[example.id]) for example in examples}
    numbers = {name: int(choice[1]) if choice else 0 for name, choice in choices.items()}
    return Submission(json.dumps(numbers), unreadable=list(choices.values()).count(None))


def value_captions(examples: Sequence[Example], answers: Answers) -> Submission:
    """VALUE's captions: a line for each `clip_id`, one description each."""
    lines = []
    for example in examples:
        record = {k: v for k, v in example.annotation.items() if k in ("vid_name", "clip_id", "ts")}
        lines.append(json.dumps({**record, "descs": [{"desc": answers[example.id]}]}) + "\n")
    return Submission("".join(lines), ".jsonl")


FORMATS: dict[str, Format] = {"value-answers": value_answers, "value-captions": value_captions}


def load_format(name: str) -> Format:
    """The format of that name in the table, or at "module:function"."""
    if name not in FORMATS and ":" not in name:
        hint = 'Your own is named "module:function".'
        raise UsageError(f"Unknown submission format '{name}'. {nearest(name, FORMATS)} {hint}")
    return FORMATS[name] if name in FORMATS else cast(Format, load(name))
