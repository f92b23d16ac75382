"""Several processes embed into one folder, each its own share; none writes another's parts."""

import math
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fgembed.disk.locks import sole_writer
from fgembed.embedding.shard_plan import Plan, agree, refuse_other_than_embeddings

BEGINNING_S = 30  # as long may another process take to write the plan


@contextmanager
def claimed_share(folder: Path, plan: Plan, share: tuple[int, int]) -> Iterator[Plan]:
    """Within the block only this process writes the share of a folder.

    Yields the folder's plan, which is on disk by then.

    Args:
        folder: of embeddings, new or not.
        plan: what the folder is to hold.
        share: `(i, n)` is every n-th part, from the i-th.

    Raises:
        InUseError: another process writes some of these parts.
        FgembedError: the folder holds something else, or is of other images.
        IntegrityError: the folder is of another model, or its plan is damaged.
    """
    refuse_other_than_embeddings(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as own:
        with sole_writer(folder, wait_s=BEGINNING_S):  # so that two do not begin at once
            agreed = agree(folder, plan)
            for other in _begun(folder):
                if other != share and overlap(share, other):
                    with sole_writer(folder, _lock_file(folder, other)):
                        pass  # nobody has it: a killed process left the file
            own.enter_context(sole_writer(folder, _lock_file(folder, share)))
        yield agreed


def overlap(share: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two shares may have a part in common.

    Example:
        >>> overlap((1, 2), (2, 2)), overlap((1, 2), (3, 4)), overlap((1, 2), (2, 4))
        (False, True, False)
    """
    return (share[0] - other[0]) % math.gcd(share[1], other[1]) == 0


def _lock_file(folder: Path, share: tuple[int, int]) -> Path:
    return folder / f".lock-{share[0]}-of-{share[1]}"


def _begun(folder: Path) -> list[tuple[int, int]]:
    found = [re.fullmatch(r"\.lock-(\d+)-of-(\d+)", path.name) for path in folder.iterdir()]
    return [(int(match[1]), int(match[2])) for match in found if match and int(match[2])]
