"""Equal files are told apart by the ends of their paths."""

from fgembed.index.library.matching import by_longest_tail


def test_copies_in_a_moved_tree_keep_their_places():
    old = [f"/old/{folder}/{name}.jpg" for folder in "abc" for name in "xyz"]
    new = [name.replace("/old", "/new/deep") for name in reversed(old)]
    assert by_longest_tail(old, new) == [(name, name.replace("/old", "/new/deep")) for name in old]


def test_of_more_entries_than_files_some_stay_unpaired():
    assert by_longest_tail(["/a/1", "/a/2", "/a/3"], ["/b/3"]) == [("/a/3", "/b/3")]
    assert by_longest_tail(["/a/1"], ["/b/8", "/b/9"]) == [("/a/1", "/b/8")]
    assert by_longest_tail([], ["/b/8"]) == []


def test_ten_thousand_equal_files_are_paired_at_once():
    old = [f"/old/{number:05}.jpg" for number in range(10_000)]
    pairs = by_longest_tail(old, [name.replace("old", "new") for name in old])
    assert all(former[4:] == present[4:] for former, present in pairs)
    assert len(pairs) == 10_000
