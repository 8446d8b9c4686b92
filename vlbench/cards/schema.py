"""Cards: what a method, a task and a suite may say. A field's docstring is its documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from pydantic import Field, PrivateAttr, model_validator

from vlbench.cards.checking import Checked
from vlbench.cards.download import Download

Visual = Literal["image", "video"]
"""What features are of: pictures, or the frames of a clip."""
VISUALS: tuple[Visual, ...] = ("image", "video")
Edition = Literal["mini", "full"]
Sharing = Literal["task", "all", "up", "down"]
PARTS = ("train", "val", "test")
"""What splits are for."""
MAIN_METRICS = {"captions": "cider", "value-captions": "cider", "anls": "anls", "token-f1": "f1"}
"""Metric -> the value of it that enters averages, where it is not the accuracy."""


class CardFile(NamedTuple):
    """A card on disk: its name, where it lies, and how messages call it."""

    name: str
    path: Path
    shown: str
    is_outside: bool = False

    @property
    def folder(self) -> Path | None:
        """The folder of a card given by its path, where its Python file may lie too."""
        return self.path.parent if self.is_outside else None


class Card(Checked):
    """A card that is read from a file of its own."""

    name: str
    """The card file's name."""

    _file: CardFile | None = PrivateAttr(default=None)

    @property
    def shown(self) -> str:
        """The card's file as messages call it."""
        return self._file.shown if self._file else self.name

    @property
    def folder(self) -> Path | None:
        """The folder of a card given by its path, where its Python file may lie too."""
        return self._file.folder if self._file else None

    @property
    def outside_file(self) -> str:
        """The absolute path of a card given by its path; empty for a card of ours."""
        return str(self.folder.resolve() / f"{self.name}.toml") if self.folder else ""

    @classmethod
    def completed(cls, table: dict[str, Any], file: CardFile) -> dict[str, Any]:
        """The table of a card's file with what follows from the rest of it."""
        return table

    def text(self) -> str:
        """The card as it is written."""
        return self._file.path.read_text(encoding="utf-8").strip() if self._file else ""


class Splits(Checked):
    """Which of the reader's own splits play which part."""

    train: tuple[str, ...] = Field(min_length=1)
    """Trained on."""
    val: tuple[str, ...] = Field(min_length=1)
    """Looked at after each epoch; choices are made on it."""
    test: tuple[str, ...] = Field(min_length=1)
    """Scored once, at the end."""
    submission: tuple[str, ...] = ()
    """Splits whose labels are not public: answered at the end, for the dataset's own server."""


class DataFiles(Checked):
    """The files of your own data: of each split, or `all`, which is split by a seeded rule."""

    folder: str = ""
    """Where the files lie, seen from the card; left out: beside the card."""
    images: str = ""
    """Where the pictures lie, seen from `folder`; left out: beside the file that names them."""
    train: tuple[str, ...] = ()
    """Files or globs that are trained on, seen from `folder`; of the reader `folder`, folders."""
    val: tuple[str, ...] = ()
    """Those that are looked at after each epoch."""
    test: tuple[str, ...] = ()
    """Those that are scored once, at the end."""
    all: tuple[str, ...] = ()
    """In place of the three: what is split so that no picture is in two splits."""
    may_share_pictures: bool = False
    """Whether a picture in two splits is meant; otherwise it stops a run."""
    val_percent: float = Field(default=10, gt=0, lt=100)
    """Percent of the examples of `all` for validation."""
    test_percent: float = Field(default=10, gt=0, lt=100)
    """Percent of the examples of `all` for the test."""
    split_seed: int = Field(default=0, ge=0)
    """Another seed splits `all` otherwise."""

    @model_validator(mode="after")
    def _has_three_splits(self) -> Self:
        named = [name for name in PARTS if getattr(self, name)]
        if bool(named) == bool(self.all) or (named and len(named) < len(PARTS)):
            given = ", ".join([*named, *(["all"] if self.all else [])]) or "none of them"
            raise ValueError(f"Should name train, val and test, or all alone; found {given}.")
        if self.val_percent + self.test_percent >= 100:
            raise ValueError("val_percent and test_percent leave nothing to train on.")
        return self


class TaskCard(Card):
    """A task: a dataset with its reader, text, target and official metric."""

    title: str
    """Name of the task as tables print it."""
    reader: str
    """Code that reads the official files: a name in the table READERS, or "module:Class"."""
    metric: str
    """The official metric: a name in the table METRICS, or "module:function"."""
    main_metric: str = "accuracy"
    """The metric's value that enters the average of a suite; left out: its usual one."""
    files: DataFiles | None = None
    """The files of your own data, for the readers jsonl, llava, csv and folder."""
    splits: dict[Edition, Splits]
    """The reader's splits by edition; an edition that is not here does not exist for the task."""
    aliases: tuple[str, ...] = ()
    """Other names for the task."""
    source: str = ""
    """The paper that describes the data."""
    published: str = ""
    """Where the official files are published, an address."""
    downloads: tuple[Download, ...] = Field(default=(), exclude=True)
    """What `vlbench data get` fetches; neither keys nor specs of runs hold it."""
    downloads_of: tuple[str, ...] = Field(default=(), exclude=True)
    """Tasks whose downloads it needs too."""
    not_fetched: tuple[str, ...] = Field(default=(), exclude=True)
    """What `vlbench data get` does not fetch, and the page that hands it out, a line each."""
    sizes: dict[str, int] = {}
    """The reader's split -> examples to evaluate on that the official files hold."""
    deviations: tuple[str, ...] = ()
    """What the authors of VL-Adapter do that is not what it seems, kept or left, a line each."""
    prompt: str = ""
    """Words that tell the model the task, where the method trains with task prompts."""
    prompt_position: Literal["front", "end"] = "front"
    """Whether the prompt stands before or after the text."""
    question: str = ""
    """What a chat model is asked, {text} in place of the text; empty: the text with its prompt."""
    max_input_tokens: int | None = Field(default=None, ge=1)
    """The text is cut to this many tokens, special ones included."""
    max_target_tokens: int | None = Field(default=None, ge=1)
    """The target is cut to this many tokens, special ones included."""
    batch_sixtieths: int = Field(default=60, ge=1)
    """Examples in a batch, in sixtieths of the method's batch size."""
    loss: Literal["score-weighted", "per-example", "per-token"] = "per-example"
    """What the cross entropy of the target tokens is averaged over."""
    visual: Visual = "image"
    """What its features are of: pictures or the frames of a clip."""
    images_per_example: int = Field(default=1, ge=1)
    """Pictures that belong to one text."""
    beams: int = Field(default=1, ge=1)
    """Beams of the search for an answer; 1 is greedy."""
    max_length: int = Field(default=20, ge=2)
    """Longest generated answer in tokens, the decoder's start token included."""
    choices: tuple[str, ...] = ()
    """All answers there are: the first tokens are compared instead of generating."""
    submission: str = ""
    """The format of submission files: a name in the table FORMATS, or "module:function"."""

    @model_validator(mode="after")
    def _has_an_edition(self) -> Self:
        if not self.splits:
            raise ValueError("no edition: [splits.mini] or [splits.full] is needed")
        if not self.submission and any(split.submission for split in self.splits.values()):
            raise ValueError("splits to submit need the format of the file: submission = ...")
        return self

    @classmethod
    def completed(cls, table: dict[str, Any], file: CardFile) -> dict[str, Any]:
        """Add the metric's usual value, and to a card with files its splits and their folder."""
        added: dict[str, Any] = {}
        if (metric := table.get("metric")) in list(MAIN_METRICS):
            added["main_metric"] = MAIN_METRICS[str(metric)]
        files = table.get("files")
        if isinstance(files, dict):
            added["splits"] = {"full": {part: [part] for part in PARTS}}
            if isinstance(files.get("folder", ""), str):
                folder = file.path.parent / Path(files.get("folder", "")).expanduser()
                table = {**table, "files": {**files, "folder": str(folder.resolve())}}
        return {**added, **table}

    @property
    def editions(self) -> tuple[Edition, ...]:
        """The editions that the task can be read from."""
        return tuple(self.splits)

    def batch_size(self, base: int) -> int:
        """Examples in a batch of this task, for a method's batch size."""
        return max(1, base * self.batch_sixtieths // 60)


class Suite(Checked):
    """Tasks that are trained together in one model (`tasks/suites.toml`)."""

    name: str
    """The key in suites.toml."""
    title: str
    """Name of the suite as tables print it."""
    tasks: tuple[str, ...] = Field(min_length=1)
    """Names of its task cards, in the order that mixes their batches."""


class TrainSettings(Checked):
    """How a method is trained; the defaults are VL-Adapter's recipe for images on BART."""

    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate: reached after the warm-up, then falling linearly to zero."""
    epochs: int = Field(default=20, ge=0, le=1_000_000)
    """Passes over the training data of every task; 0 where nothing trains."""
    batch_size: int = Field(default=500, ge=1, le=1_000_000)
    """Examples in a batch of VQA; a task card scales it for its own task."""
    warmup_ratio: float = Field(default=0.1, ge=0, le=1)
    """Share of the steps in which the learning rate rises."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decay per step, times the learning rate; the training code says which tensors are spared."""
    clip_norm: float = Field(default=5.0, gt=0)
    """Largest norm of the gradient of all parameters together."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout of the backbone: hidden states, attention and activations."""
    task_prompts: bool = True
    """Whether the text begins with the task card's prompt."""
    truncate: Literal["end", "subtitles"] = "end"
    """What goes of a text that is too long: its end, as in the authors' code, or its subtitles."""
    order: Literal["random", "lengths", "pictures"] = "random"
    """Which examples share a batch: any, as in the authors' code, of like lengths, of a picture."""
    share_encoder: bool = False
    """Whether what is equal in a batch passes the encoder once; its dropout is then shared."""
    norms: bool = True
    """Whether the backbone's layer norms train too."""
    projector: bool | None = None
    """Whether the projector (visual embedding) trains; left out: yes, but not of a chat model."""
    blind: bool = False
    """Whether the model sees zeros in place of the pictures."""
    optimiser: Literal["authors-adamw", "adamw"] = "authors-adamw"
    """AdamW as in the authors' transformers (decay after the update, eps 1e-6), or torch's own."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Number format of the forward and backward pass; the weights stay fp32."""
    weights: Literal["fp32", "bf16", "4bit"] = "fp32"
    """Number format of a chat model's frozen weights; bf16 and 4bit also compute in bf16."""


class Tuning(Checked):
    """How the card's values for an embedded backbone were chosen."""

    searched: tuple[str, ...] = ()
    """What was tried, a line for each key: `train.learning_rate: 1e-3, 3e-3`."""
    trials: int = Field(default=0, ge=0)
    """Number of trials; the same for every method that is compared."""
    selected_on: str = ""
    """Data and metric that decided."""


class Override(Checked):
    """What a card changes for one backbone and suite."""

    sharing: Sharing = "all"
    """In place of the card's sharing."""
    params: dict[str, Any] = {}
    """In place of single parameters."""
    train: TrainSettings = TrainSettings()
    """In place of single training settings."""


class MethodCard(Card):
    """A method: technique + sharing + hyper-parameters."""

    title: str
    """Name of the method as tables print it."""
    technique: str
    """A name in the table TECHNIQUES, "module:Class", or several joined by "+"."""
    sharing: Sharing = "all"
    """Whose weights a task uses: its own (task), one set (all), own downs (up), own ups (down)."""
    aliases: tuple[str, ...] = ()
    """Other names for the method, such as the paper's."""
    source: str = ""
    """Where the method and its values come from."""
    suites: tuple[str, ...] = ()
    """Suites the method is for; empty: any."""
    deviations: tuple[str, ...] = ()
    """Where the card departs from its source, a line each."""
    tuning: Tuning = Tuning()
    """How values that are not the source's were chosen."""
    params: dict[str, Any] = {}
    """The technique's own parameters."""
    train: TrainSettings = TrainSettings()
    """How the method is trained."""
    when: dict[str, Override] = {}
    """Overrides by "backbone/suite", with * for any; the most general is applied first."""
