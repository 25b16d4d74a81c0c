"""Files appear whole or not at all, whatever their names."""

from __future__ import annotations

import pytest

from pplava_core.atomic import replacing


@pytest.mark.parametrize("letter", ["a", "é", "視", "🎬"])
def test_a_name_may_be_as_long_as_a_file_system_allows(tmp_path, letter):
    target = tmp_path / (letter * (251 // len(letter.encode())) + ".txt")
    with replacing(target) as temporary:
        temporary.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_an_error_leaves_the_old_file(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")

    def write_half():
        with replacing(target) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
