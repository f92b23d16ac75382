"""docs/architecture.svg shows the imports as they are."""

from docs.architecture import PICTURE, imports, layers, picture


def test_the_picture_is_the_one_that_the_graph_gives():
    assert PICTURE.read_text() == picture(), "draw it again with: python -m docs.architecture"


def test_every_dot_lies_right_of_the_diagonal():
    rooms = [room for layer in layers() for room in layer]
    position = {room: number for number, room in enumerate(rooms)}
    arrows = imports(rooms)
    assert ("cli", "index") in arrows
    assert all(position[importer] < position[imported] for importer, imported in arrows)
