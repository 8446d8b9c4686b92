"""The tokens of COCO's caption scores: Stanford's PTBTokenizer without punctuation.

The call, the jar and the list of dropped tokens are pycocoevalcap's. Its wrapper is not used: it
writes into its own folder (fails in a read-only install), lets Java's notes through to the terminal
and, when a caption holds a carriage return or U+2028, shifts all later ones to the wrong image.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from pycocoevalcap.tokenizer import ptbtokenizer

from vlbench.metrics.java import java_failed, run_java

JAR = Path(ptbtokenizer.__file__).with_name(ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR)
DROPPED = frozenset(ptbtokenizer.PUNCTUATIONS)
LINE_BREAK = re.compile(r"[\n\r\v\f\u2028\u2029]")
"""What ends a line for the tokenizer; other space stays, as it can change tokens ("5 1/2")."""


def tokenize(captions: Iterable[str]) -> list[str]:
    """One string of tokens per caption, separated by single spaces; one start of Java for all."""
    lines = [LINE_BREAK.sub(" ", caption) for caption in captions]
    stdout = run_java(
        "PTBTokenizer",
        *("-cp", str(JAR), "edu.stanford.nlp.process.PTBTokenizer"),
        *("-preserveLines", "-lowerCase"),
        stdin="".join(f"{line}\n" for line in lines).encode(errors="replace"),
    )
    out = stdout.decode(errors="replace").split("\n")[:-1]
    if len(out) != len(lines):
        said = f"{len(out)} lines for {len(lines)} captions"
        raise java_failed("PTBTokenizer", 0, said.encode())
    return [
        " ".join(token for token in line.rstrip().split(" ") if token not in DROPPED)
        for line in out
    ]
