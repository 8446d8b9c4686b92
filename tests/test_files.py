from __future__ import annotations

import pytest

from vlbench.files import write_atomically


@pytest.mark.parametrize(
    "content",
    ["two\n", b"two\n", lambda path: path.write_text("two\n")],
    ids=["str", "bytes", "call"],
)
def test_a_file_is_replaced_whole(content, tmp_path) -> None:
    path = tmp_path / "new" / "file.txt"
    write_atomically(path, "one")
    write_atomically(path, content)
    assert path.read_bytes() == b"two\n"
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path) -> None:
    path = tmp_path / "file.txt"
    write_atomically(path, "old")

    def fail(beside) -> None:
        beside.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
