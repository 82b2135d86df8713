from __future__ import annotations

from pathlib import Path

import pytest

from routing_gym.adapters.folder import file_names, replaced_folder


def fill(folder: Path, text: str) -> None:
    with replaced_folder(folder) as draft:
        (draft / "below").mkdir()
        (draft / "below" / "file").write_text(text)


def test_a_folder_is_made_and_replaced_whole(tmp_path: Path) -> None:
    fill(tmp_path / "deep" / "target", "old")
    (tmp_path / "deep" / "target" / "more").write_text("more")
    fill(tmp_path / "deep" / "target", "new")
    assert file_names(tmp_path) == ["deep/target/below/file"]
    assert (tmp_path / "deep" / "target" / "below" / "file").read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_interruption_leaves_the_old_folder_alone(
    tmp_path: Path, error: type[BaseException]
) -> None:
    fill(tmp_path / "target", "old")

    def interrupted() -> None:
        with replaced_folder(tmp_path / "target") as draft:
            (draft / "half").write_text("half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert file_names(tmp_path) == ["target/below/file"]


def test_what_a_kill_left_is_repaired(tmp_path: Path) -> None:
    """The worst moment: the old folder is aside, and the new one is not in its place yet."""
    fill(tmp_path / "target", "old")
    (tmp_path / "target").rename(tmp_path / ".target.old")
    (tmp_path / ".target.partial").mkdir()
    with pytest.raises(ValueError), replaced_folder(tmp_path / "target"):  # noqa: PT011, PT012
        assert (tmp_path / "target" / "below" / "file").read_text() == "old"
        raise ValueError
    assert file_names(tmp_path) == ["target/below/file"]


def test_a_link_stays_and_the_folder_behind_it_changes(tmp_path: Path) -> None:
    fill(tmp_path / "far" / "target", "old")
    (tmp_path / "link").symlink_to(tmp_path / "far" / "target", target_is_directory=True)
    for text in ("new", "newer"):
        fill(tmp_path / "link", text)
        assert (tmp_path / "far" / "target" / "below" / "file").read_text() == text
    assert (tmp_path / "link").is_symlink()
    assert file_names(tmp_path) == ["far/target/below/file", "link"]
