"""A comparison as JUnit's XML, which most CI servers show: a suite per place, a case per task."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from vlbench.leaderboard.compare_sheets import compare_sheets, in_words
from vlbench.leaderboard.compared import Item, Pair
from vlbench.leaderboard.gate import Fault, Gate, count_compared
from vlbench.text import is_unicode, printable_lines

COUNTED = {"tests": "testcase", "failures": "failure", "errors": "error"}
"""Attribute -> the elements it counts."""


def as_junit(pairs: Sequence[Pair], gate: Gate | None, reason: str = "") -> str:
    """What the gate refuses is a failure; what else could not be compared is skipped.

    Where nothing was compared, which ends the command with 4, that is an error, with the reason.
    """
    faults = {id(fault.item): fault for fault in (gate.faults if gate else ())}
    root = Element("testsuites", name="vlbench compare")
    for pair, sheet in zip(pairs, compare_sheets(pairs), strict=True):
        suite = SubElement(root, "testsuite", name=sheet.title)
        for item in pair.items:
            _case(suite, pair, item, faults.get(id(item)))
        _count(suite, skipped="skipped")
        SubElement(suite, "system-out").text = "\n".join(sheet.notes)
    if not count_compared(pairs):
        _nothing(root, reason or "Nothing could be compared; each case says why.")
    _count(root)  # where the schema of Jenkins knows of none skipped
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode", xml_declaration=True)
    text = printable_lines(text) + "\n"  # what is hidden may stand in no XML, escaped or not
    return text if is_unicode() else text.encode("ascii", "xmlcharrefreplace").decode()


def _case(suite: Element, pair: Pair, item: Item, fault: Fault | None) -> None:
    board = pair.board
    place = f"{board.suite}.{board.backbone}.{board.edition}.{board.scope}"
    case = SubElement(suite, "testcase", classname=f"vlbench.{place}", name=item.metric, time="0")
    said = in_words(item)
    if fault:
        SubElement(case, "failure", message=fault.text, type=fault.kind).text = said
    elif item.tested is None:
        SubElement(case, "skipped", message=said)
    else:
        SubElement(case, "system-out").text = said


def _nothing(root: Element, reason: str) -> None:
    suite = SubElement(root, "testsuite", name="comparison")
    case = SubElement(suite, "testcase", classname="vlbench", name="comparison", time="0")
    error = SubElement(case, "error", message=reason.splitlines()[0], type="nothing")
    error.text = reason
    _count(suite, skipped="skipped")


def _count(element: Element, **others: str) -> None:
    """The numbers of cases, failures and the like, which readers sum up by."""
    for name, tag in (COUNTED | others).items():
        element.set(name, str(sum(1 for _ in element.iter(tag))))
    element.set("time", "0")
