"""The share of names that say nothing: `python -m tests.vague_names` prints it and the worst files.

A name is whatever the source binds: functions, classes, arguments, variables, attributes. It is
vague if one of its words could stand for anything. The words were chosen by frequency: lightly,
vicinity, fastembed, pytorch-metric-learning, sqlite-utils, llm, httpx and einops, together 30,000
names, use them hardly ever.
"""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOPS = ("fgembed", "cli", "export", "index")

VAGUE = frozenset(
    "found given known some own kept said say told look looks place places one ones wanted asked "
    "chosen made everyone nobody nothing everything thing things there here whole what held begun "
    "gone wish wishes answers each goal doubt likeness few many more near others such "
    "anew way ended waited twin".split()
)
# Terms of the field and words of Python's own that hold one of these.
ESTABLISHED = (
    "leave_one_out",
    "held_out",
    "few_labels",
    "FewLabels",
    "search_many",
    "one_hot",
    "NotFoundError",
)


def bound_names(tree: ast.AST) -> Iterator[str]:
    """Every name that a module binds, as often as it does."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name):
                yield name
            case ast.arg(arg=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case ast.alias(asname=str(name)) | ast.ExceptHandler(name=str(name)):
                yield name


def is_vague(name: str) -> bool:
    """Whether a word of the name is one of `VAGUE`, the established terms aside."""
    for term in ESTABLISHED:
        name = name.replace(term, "")
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    return any(word.lower() in VAGUE for word in words)


def source_files(tops: Iterable[str] = TOPS) -> list[Path]:
    """The product's files, each once: `rglob` does not follow the links in fgembed/."""
    return sorted(path for top in tops for path in (ROOT / top).rglob("*.py"))


def vague_names(file: Path) -> tuple[list[str], int]:
    """The vague names of a file, and how many names it binds."""
    names = list(bound_names(ast.parse(file.read_text(encoding="utf-8"))))
    return [name for name in names if is_vague(name)], len(names)


def main(tops: Iterable[str]) -> None:
    """Prints the share over all files, and the files with the most vague names."""
    files = {file: vague_names(file) for file in source_files(tops)}
    vague = sum(len(names) for names, _ in files.values())
    total = sum(count for _, count in files.values())
    print(f"{vague} of {total} names are vague: {100 * vague / max(total, 1):.2f} %")
    for file, (names, count) in sorted(files.items(), key=lambda entry: -len(entry[1][0]))[:15]:
        if names:
            worst = ", ".join(f"{name} {n}" for name, n in Counter(names).most_common(6))
            print(f"{len(names):4} of {count:4}  {file.relative_to(ROOT)}: {worst}")


if __name__ == "__main__":
    main(sys.argv[1:] or TOPS)
