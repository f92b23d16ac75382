"""Many images that are missing at once are no wish to remove them."""

import pytest

from fgembed.index.library.lost_folders import lost_folders


def names(folder: str, count: int, start: int = 0) -> list[str]:
    return [f"{folder}/{number}.jpg" for number in range(start, start + count)]


def lost(indexed: list[str], missing: list[str], new: list[str] | None = None) -> dict[str, int]:
    listed = [name for name in indexed if name not in missing] + (new or [])
    found = lost_folders("/p", indexed, missing, listed)
    return {folder.folder: len(folder.names) for folder in found}


@pytest.mark.parametrize(("missing", "is_lost"), [(1, False), (2, False), (3, False), (4, True)])
def test_more_than_half_of_a_folder_is_a_loss(missing: int, is_lost: bool):
    indexed = names("/p/a", 6) + names("/p/b", 6)
    assert lost(indexed, names("/p/a", missing)) == ({"/p/a": missing} if is_lost else {})


def test_more_than_ten_and_a_quarter_of_a_folder_are_a_loss():
    indexed = names("/p/a", 44)
    assert lost(indexed, names("/p/a", 11)) == {}
    assert lost(indexed, names("/p/a", 12)) == {"/p/a": 12}
    assert lost(names("/p/a", 36), names("/p/a", 10)) == {}


def test_a_single_image_is_removed_where_others_are_and_kept_where_nothing_is():
    assert lost(["/p/a/1.jpg", "/p/b/1.jpg"], ["/p/a/1.jpg"]) == {"/p/a": 1}
    assert lost(["/p/a/1.jpg", "/p/b/1.jpg"], ["/p/a/1.jpg"], new=["/p/a/2.jpg"]) == {}


def test_another_disk_at_the_place_of_a_folder_is_a_loss():
    new = names("/p/a", 6, start=10)
    assert lost(names("/p/a", 6) + names("/p/b", 6), names("/p/a", 6), new) == {"/p/a": 6}
    assert lost_folders("/p", names("/p/a", 6), names("/p/a", 6), new)[0].reason == (
        "holds none of them"
    )


def test_the_highest_folder_of_which_all_is_lost_is_named_and_single_removals_beside_it_count():
    nas = names("/p/nas/2019", 6) + names("/p/nas/2020", 6)
    indexed = names("/p/local", 6) + nas
    assert lost(indexed, nas) == {"/p/nas": 12}
    assert lost(indexed, [*nas, "/p/local/0.jpg"]) == {"/p/nas": 12}
    assert lost(indexed, nas[2:]) == {"/p/nas/2019": 4, "/p/nas/2020": 6}


def test_a_loss_that_is_spread_over_a_tree_names_the_tree():
    indexed = [name for folder in range(10) for name in names(f"/p/{folder}", 6)]
    missing = [f"/p/{folder}/{number}.jpg" for folder in range(10) for number in range(2)]
    assert lost(indexed, missing) == {"/p": 20}
