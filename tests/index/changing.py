"""Changes of an index by name, for processes that are killed during a change."""

import tempfile
from pathlib import Path

import numpy as np

from fgembed.index.changes.compact import compact
from fgembed.index.changes.embeddings_folder import ImportedEmbeddings
from fgembed.index.changes.from_embeddings import add_embeddings, build_from_embeddings
from fgembed.index.changes.remove import remove_ids
from fgembed.index.changes.transaction import NO_IDS, Transaction, settings_of
from fgembed.index.format.manifest import Manifest
from fgembed.index.format.publishing import only_writer
from fgembed.index.library.item_changes import ItemChange, changed_segment
from tests.index.making import KIND_SETTINGS, unit_vectors, write_random

COUNT = 900
NEW = 300
NAMES = ("add", "remove", "compact", "build", "move")


def add(folder: Path, seed: int = 2) -> None:
    vectors = unit_vectors(NEW, seed=seed)
    with tempfile.TemporaryDirectory() as temporary:
        next_id = Manifest.read(folder).next_id
        add_embeddings(folder, write_random(Path(temporary), vectors, next_id))


def move(folder: Path) -> None:
    """Gives every item another path."""
    with only_writer(folder):
        transaction = Transaction.begin(folder)
        changed = {}
        for part in transaction.vectors.segments:
            changes = {id_: ItemChange(f"/moved/{id_}.jpg") for id_ in part.ids.tolist()}
            changed[part.entry.name] = changed_segment(folder, part, changes)
        transaction.commit([], NO_IDS, changed=changed)


def change(name: str, folder: Path, embeddings: Path) -> None:
    """Does one change; a build replaces the index by one of other vectors."""
    if name == "add":
        add(folder)
    elif name == "remove":
        remove_ids(folder, np.arange(1, COUNT, 9))
    elif name == "compact":
        compact(folder, settings_of(Manifest.read(folder)))
    elif name == "move":
        move(folder)
    else:
        imported = ImportedEmbeddings.open(embeddings)
        build_from_embeddings(imported, None, folder, settings=KIND_SETTINGS["ivfpq"])
