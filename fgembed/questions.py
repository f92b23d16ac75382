"""The questions of `fgembed init`: what tells the things in the photographs apart.

People know this without labels. The answers are the table `[things]` of the settings, and
`fgembed.resolve` turns them into views and reading.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Answer(StrEnum):
    """To one question; `unknown` leaves everything as the recipe has it."""

    yes = "yes"
    no = "no"
    unknown = "unknown"


@dataclass(frozen=True)
class Answers:
    """The table `things`.

    A `RunConfig` made without `fgembed.resolve` holds its answers, and nothing follows from them.

    Attributes:
        colour: whether colour tells the things apart.
        turns: whether the same thing is photographed turned to any angle.
        mirror: whether the mirror image is the same thing.
        size: whether its size in the picture tells it apart.
    """

    colour: Answer = Answer.unknown
    turns: Answer = Answer.unknown
    mirror: Answer = Answer.unknown
    size: Answer = Answer.unknown


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        key: of its answer in the table `things`.
        text: the question in plain words.
        example: helps to answer it.
        effect: what the answers change.
    """

    key: str
    text: str
    example: str
    effect: str


QUESTIONS = (
    Question(
        "colour",
        "Does colour tell the things apart?",
        "no for cars: one model is sold in many paints",
        "yes: views keep hue and saturation; no: they vary the hue, and grey ones teach too",
    ),
    Question(
        "turns",
        "Is the same thing photographed turned to any angle?",
        "yes for coins on a table, no for cars on a road",
        "yes: views are turned by any angle",
    ),
    Question(
        "mirror",
        "Is its mirror image the same thing?",
        "no where lettering or left and right decide",
        "no: no view is flipped, and no reading is averaged with the mirror image",
    ),
    Question(
        "size",
        "Does its size in the picture tell it apart?",
        "yes where all are photographed from one distance",
        "yes: views are crops of at least 0.8 of the area",
    ),
)


def things_table(answers: Mapping[str, Answer]) -> str:
    """The table `[things]` as commented TOML; a question without an answer is `unknown`.

    Args:
        answers: by the key of the question.

    Example:
        >>> print(things_table({"colour": Answer.no}).splitlines()[3])
        colour = "no"         # Does colour tell the things apart?
    """
    lines = [
        "[things]",
        '# What you know of the things without labels: "yes", "no", or "unknown" for the recipe\'s',
        "# choice. What you set yourself in [views] or [pooling] comes before an answer.",
    ]
    for question in QUESTIONS:
        assignment = f'{question.key} = "{answers.get(question.key, Answer.unknown)}"'
        lines.append(f"{assignment:22s}# {question.text}")
        lines.append(f"{'':22s}# {question.effect}")
    return "\n".join(lines)
