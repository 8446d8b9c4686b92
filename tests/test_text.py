"""Text from outside as it may be shown."""

from __future__ import annotations

import json
import sys
import unicodedata

import pytest

from vlbench.text import printable, printable_json, printable_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "plain (params.reduction=4) ±1.0 café 模型 🎉",
            "plain (params.reduction=4) ±1.0 café 模型 🎉",
        ),
        ("a\x1b[31mred", "a[U+001B][31mred"),
        ("a\rb\nc\td\x08\x00", "a[U+000D]b[U+000A]c[U+0009]d[U+0008][U+0000]"),
        ("a\u202eb", "a[U+202E]b"),
        ("a\u2028b\ufeff", "a[U+2028]b[U+FEFF]"),
        ("a\udc80", "a[U+DC80]"),
        ("a\U000e0041", "a[U+E0041]"),
        ("�", "�"),
    ],
)
def test_what_is_hidden_is_shown_by_its_number(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_no_control_sign_of_direction_or_end_of_line_is_left() -> None:
    turning = {"RLE", "LRE", "RLO", "LRO", "PDF", "RLI", "LRI", "FSI", "PDI"}
    for number in range(sys.maxunicode + 1):
        sign = chr(number)
        if unicodedata.category(sign) in {"Cc", "Cs", "Zl", "Zp"} or (
            unicodedata.bidirectional(sign) in turning
        ):
            assert printable(sign) == f"[U+{number:04X}]"


def test_a_message_keeps_its_lines_and_tabs() -> None:
    assert printable_lines("one\n\ttwo\x1b\n") == "one\n\ttwo[U+001B]\n"


def test_json_is_ascii_and_read_as_it_was() -> None:
    document = {"name": "a\x1b\u202e\x9b\U000e0041\n\udc80é", "n": [1.5, None]}
    text = printable_json(document)
    assert json.loads(text) == document
    assert text.isascii() and printable_lines(text) == text


def test_json_refuses_what_is_no_number() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        printable_json({"value": float("nan")})
