"""Opens damaged copies of a folder, one after the other, and prints what each reader made of them.

Run as a process of its own, `python -m tests.end_to_end.damaged_copies SPEC`, so that a crash or a
hang of a library ends it and no test run. A line of JSON for each copy: what was damaged and how,
and for each reader `refused`, `equal`, `other` (results that a sound copy does not give) or the
error that is not ours.
"""

import faulthandler
import json
import random
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from fnmatch import fnmatch
from itertools import cycle, product
from pathlib import Path
from typing import Any

from fgembed.errors import FgembedError
from tests.end_to_end.damaging import DAMAGES, Spec, damage, files_of
from tests.end_to_end.folder_readers import READERS, SETTLED_NS, Reader

HANG_S = 120
NEED_NOT_BE = "state/checkpoint.safetensors"  # without it a run trains again from the start


def outcome(read: Reader, copy: Path, sound: object) -> str:
    try:
        result = read(copy)
    except FgembedError as error:
        return f"refused: {error}" if "\n" not in str(error) else f"two lines: {error}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return "equal" if plain(result) == sound else "other"


def plain(result: object) -> str:
    return json.dumps(result, default=str)


def copies(spec: Spec) -> Iterator[dict[str, Any]]:
    """Damages and opens the copies."""
    draw = random.Random(spec.seed)
    readers = READERS[spec.subject](spec.arguments)
    copy = Path(spec.work) / "copy"

    def fresh() -> None:
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(spec.folder, copy)

    fresh()
    sound = {name: plain(read(copy)) for name, read in readers.items()}
    names = files_of(Path(spec.folder)) + ([".proved.json"] if "cached" in spec.arguments else [])
    names = list(dict.fromkeys(names))
    cases = list(product(names, [*DAMAGES, "swapped", "missing"]))
    draw.shuffle(cases)
    done = 0
    for name, how in cycle(cases):
        if done == spec.count:
            return
        faulthandler.dump_traceback_later(HANG_S, exit=True)
        fresh()
        if spec.arguments.get("cached") == "yes":
            time.sleep(1.5 * SETTLED_NS / 1e9)
            assert plain(readers["search"](copy)) == sound["search"]
        if how == "missing" and fnmatch(name, NEED_NOT_BE):
            continue
        if not (copy / name).is_file() or not damage(copy, spec, name, how, draw):
            continue
        yield {"file": name, "damage": how, "untrusted": spec.is_untrusted(name)} | {
            "outcomes": {reader: outcome(read, copy, sound[reader])
                         for reader, read in readers.items()}
        }  # fmt: skip
        done += 1


def main() -> None:
    """Reads the spec from a file and prints a line for each copy, and one for the memory."""
    spec = Spec(**json.loads(Path(sys.argv[1]).read_text()))
    before = 0
    for number, case in enumerate(copies(spec)):
        sys.stdout.write(json.dumps({"copy": number} | case) + "\n")
        sys.stdout.flush()
        if number == 5:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sys.stdout.write(json.dumps({"grown_kib": peak - before}) + "\n")


if __name__ == "__main__":
    main()
