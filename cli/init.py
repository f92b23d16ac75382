"""`fgembed init`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from fgembed.questions import QUESTIONS, Answer, Question

app = typer.Typer(add_completion=False)

SPELLINGS = {
    "": Answer.unknown,
    "?": Answer.unknown,
    "unknown": Answer.unknown,
    "y": Answer.yes,
    "yes": Answer.yes,
    "n": Answer.no,
    "no": Answer.no,
}


def _help(key: str) -> str:
    question = next(question for question in QUESTIONS if question.key == key)
    return f"{question.text} {question.effect[:1].upper()}{question.effect[1:]}."


@app.command()
def init(
    photos: Annotated[Path, typer.Argument(help="Folder of photographs, searched recursively.")],
    colour: Annotated[Answer | None, typer.Option(help=_help("colour"))] = None,
    turns: Annotated[Answer | None, typer.Option(help=_help("turns"))] = None,
    mirror: Annotated[Answer | None, typer.Option(help=_help("mirror"))] = None,
    size: Annotated[Answer | None, typer.Option(help=_help("size"))] = None,
    no_ask: Annotated[
        bool, typer.Option("--no-ask", help="Ask nothing; what no option answers is unknown.")
    ] = False,
) -> None:
    """Write a short commented fgembed.toml for a folder of photographs.

    In a terminal it asks what tells the things apart, which people know without labels. The answers
    can be changed in the file, or for one training with --set things.colour=no.

    Example: fgembed init photos/
    """
    from fgembed.cli.left_out import print_left_out
    from fgembed.images.finding import scan
    from fgembed.images.skipped import check_bad
    from fgembed.template import check_absent, write_template
    from fgembed.text import showable

    check_absent(Path())
    images = scan(photos)
    check_bad(images.skipped, len(images.paths) + len(images.skipped), max_bad=1)
    options = {"colour": colour, "turns": turns, "mirror": mirror, "size": size}
    answers = {key: answer for key, answer in options.items() if answer is not None}
    if not no_ask and all(s.isatty() for s in (sys.stdin, sys.stdout, sys.stderr)):
        answers |= {q.key: _ask(q) for q in QUESTIONS if q.key not in answers}
    file = write_template(Path(), photos, answers)
    print(showable(f"{file}: {len(images.paths)} images in {photos}"))
    remedy = f"include_clutter = true in {file}"
    print_left_out(images.skipped, images.passed_over, remedy=remedy)
    print('next: "fgembed train"')


def _ask(question: Question) -> Answer:
    """The answer that is typed; Enter alone is `unknown`.

    Raises:
        typer.Abort: the input has ended.
    """
    print(f"{question.text} ({question.example})", file=sys.stderr)
    while True:
        print("  yes, no, or Enter if you do not know: ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.buffer.readline()
        if not line:
            print(file=sys.stderr)
            raise typer.Abort
        answer = SPELLINGS.get(line.decode(errors="replace").strip().lower())
        if answer is not None:
            return answer
