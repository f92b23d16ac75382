"""What is no bundle is refused, with the command that writes one."""

import json
from pathlib import Path

import pytest

from fgembed.bundle import Bundle, refuse_other_than_bundle
from fgembed.errors import FgembedError, IntegrityError, NotFoundError


def test_a_missing_bundle_is_not_found_and_another_folder_is_no_bundle(tmp_path: Path):
    with pytest.raises(NotFoundError, match=r'no bundle at .*; make one with "fgembed export --on'):
        Bundle.read(tmp_path)
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(IntegrityError, match=r'has no config\.json; give a folder that "fgembed'):
        Bundle.read(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model_type": "bert"}, r"its model_type is not 'fgembed'; give a folder that"),
        ({"model_type": "fgembed", "format": 99}, r"reads 2; export it again with \"fgembed exp"),
        ({"model_type": "fgembed", "format": 1}, r"missing key .*; restore it from a copy, or mak"),
    ],
)
def test_a_foreign_description_says_what_to_do(
    tmp_path: Path, content: dict[str, object], message: str
):
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(IntegrityError, match=message):
        Bundle.read(tmp_path)


def test_a_folder_with_a_readme_alone_is_not_taken_for_a_bundle(tmp_path: Path):
    (tmp_path / "README.md").write_text("")
    with pytest.raises(FgembedError, match=r"holds 'README\.md', which is no part of a bundle"):
        refuse_other_than_bundle(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "fgembed"}')
    refuse_other_than_bundle(tmp_path)
