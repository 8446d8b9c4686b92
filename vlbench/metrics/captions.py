"""Caption scores of COCO and VALUE: CIDEr-D, BLEU-1 to 4, ROUGE-L and METEOR, by pycocoevalcap.

Tokens are those of Stanford's PTBTokenizer without punctuation. CIDEr weighs n-grams by how many
images hold them, so every score depends on the whole set; on a single image it is 0. VALUE's tasks
(TVC, YC2C) replace every character outside ASCII with a space, on both sides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import lru_cache, partial
from itertools import chain

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from vlbench.errors import DataError
from vlbench.metrics import Annotations, Predictions, Scored, check_ids
from vlbench.metrics.java import one_meteor, tokenize

ONE_IMAGE = "needs two images or more, as n-grams weigh by how many hold them; officially 0.00"


def score(
    annotations: Annotations, predictions: Predictions, meteor: bool = True, ascii: bool = False
) -> Scored:
    """All caption scores x 100; every annotation holds `captions`, its reference texts."""
    references = {}
    for image in check_ids(annotations, predictions):
        captions = annotations[image].get("captions")
        if not captions:
            raise DataError(f"Image {image}: the annotation has no captions.")
        references[image] = captions
    if ascii:
        strip = partial(re.compile("[^\0-\x7f]").sub, " ")
        references = {image: [*map(strip, texts)] for image, texts in references.items()}
        predictions = {image: strip(text) for image, text in predictions.items()}
    return evaluate(references, predictions, meteor)


score_without_meteor = partial(score, meteor=False)
score_value = partial(score, ascii=True)
score_value_without_meteor = partial(score_value, meteor=False)


def evaluate(
    references: Mapping[str, Sequence[str]], candidates: Mapping[str, str], meteor: bool = True
) -> Scored:
    """The scores of one candidate caption per image against the image's references."""
    # METEOR's Java reads its tables for six seconds: it starts first and does so meanwhile.
    with one_meteor(at_once=True) if meteor else nullcontext() as scorer:
        gold = tokens_of(tuple(map(tuple, references.values())))
        tokens = tokenize(candidates[image] for image in references)
        pair = dict(enumerate(gold)), {n: [text] for n, text in enumerate(tokens)}
        bleu = zip(*Bleu(4).compute_score(*pair, verbose=0), strict=True)
        scores = {
            "cider": Cider().compute_score(*pair),
            **{f"bleu_{n}": overall for n, overall in enumerate(bleu, 1)},
            "rouge_l": Rouge().compute_score(*pair),
        }
        if scorer is not None:
            scores["meteor"] = scorer.score(gold, tokens)
    per_image = {
        name: {image: float(value) for image, value in zip(references, values, strict=True)}
        for name, (_, values) in scores.items()
    }
    return Scored(
        {name: 100 * float(overall) for name, (overall, _) in scores.items()},
        per_image["cider"],
        undefined={"cider": ONE_IMAGE} if len(tokens) == 1 else {},
        per_metric=per_image,
    )


@lru_cache(maxsize=4)
def tokens_of(references: tuple[tuple[str, ...], ...]) -> list[list[str]]:
    """Tokenize the captions of each image, once per set in a process."""
    tokens = tokenize(chain.from_iterable(references))
    if not any(tokens):
        raise DataError("No reference caption holds a word.")
    lines = iter(tokens)
    return [[next(lines) for _ in captions] for captions in references]
