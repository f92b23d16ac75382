"""Names a reader of the field would expect: the share of vague ones stays below one percent."""

import ast

from tests.vague_names import bound_names, is_vague, source_files, vague_names


def test_fewer_than_one_name_in_a_hundred_is_vague():
    counted = {file: vague_names(file) for file in source_files()}
    vague = {str(file): names for file, (names, _) in counted.items() if names}
    total = sum(count for _, count in counted.values())
    assert sum(map(len, vague.values())) < total / 100, vague


def test_every_kind_of_binding_is_counted_and_uses_are_not():
    source = (
        "import numpy as kept\n"
        "class Made:\n"
        "    def asked(self, given, *some, **what):\n"
        "        self.place = one = given\n"
        "        for each in what: print(each)\n"
        "try: pass\nexcept ValueError as told: pass\n"
    )
    assert sorted(bound_names(ast.parse(source))) == sorted(
        ["kept", "Made", "asked", "self", "given", "some", "what", "place", "one", "each", "told"]
    )


def test_words_count_however_they_are_joined_and_established_terms_do_not():
    assert [is_vague(name) for name in ("found", "_as_found", "AsFound", "FOUND_AT")] == [True] * 4
    assert not any(map(is_vague, ("foundation", "leave_one_out", "NotFoundError", "held_out")))
    assert is_vague("one_left_out")
