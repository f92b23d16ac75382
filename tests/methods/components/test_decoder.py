"""Decoders: exact sizes, the walk of the maps, the published plan of channels."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fgembed.methods.components.decoder import (
    Decoder,
    MirroredBottleneck,
    UpBlock,
    full_decoder,
    light_decoder,
    side_walk,
)


def walked(decoder: Decoder, channels: int, size: int) -> list[tuple[int, ...]]:
    """(channels, side) of the first stage's input, and of every stage's output."""
    seen: list[tuple[int, ...]] = []

    def before(module: nn.Module, inputs: tuple[Tensor, tuple[int, int]]) -> None:
        seen.append((inputs[0].shape[1], inputs[0].shape[3]))

    def behind(module: nn.Module, inputs: object, maps: Tensor) -> None:
        seen.append((maps.shape[1], maps.shape[3]))

    first = decoder.stages[0]
    assert isinstance(first, nn.ModuleList)
    first[0].register_forward_pre_hook(before)
    for stage in decoder.stages:
        assert isinstance(stage, nn.ModuleList)
        stage[-1].register_forward_hook(behind)
    with torch.no_grad():
        images = decoder.eval()(torch.rand(1, channels), (size, size))
    return [*seen, (images.shape[1], images.shape[3])]


def test_the_full_decoder_walks_from_7_to_224_on_the_mirrored_plan():
    decoder = full_decoder(2048)
    walk = [(2048, 7), (1024, 14), (512, 28), (256, 56), (256, 112), (3, 224)]
    assert walked(decoder, 2048, 224) == walk
    assert [len(list(stage.children())) for stage in decoder.stages] == [3, 4, 6, 3]


def test_the_light_decoder_walks_from_7_to_224_and_halves_its_channels():
    walk = [(512, 7), (256, 14), (128, 28), (64, 56), (32, 112), (16, 224), (3, 224)]
    assert walked(light_decoder(2048), 2048, 224) == walk
    short = [(256, 4), (128, 7), (64, 14), (32, 28), (16, 56), (8, 112), (3, 112)]
    assert walked(light_decoder(1280), 1280, 112) == short


def test_other_sizes_are_halved_and_rounded_up():
    assert side_walk((56, 33)) == [(2, 2), (4, 3), (7, 5), (14, 9), (28, 17), (56, 33)]
    assert side_walk((16, 16))[:2] == [(1, 1), (1, 1)]


@pytest.mark.parametrize("size", [(16, 16), (32, 32), (33, 50), (64, 64), (112, 112), (384, 384)])
def test_images_come_out_in_exactly_the_requested_size(size: tuple[int, int]):
    with torch.no_grad():
        assert light_decoder(64).eval()(torch.rand(1, 64), size).shape == (1, 3, *size)


@pytest.mark.parametrize("size", [(32, 32), (56, 56)])
def test_the_full_decoder_is_exact_too(size: tuple[int, int]):
    with torch.no_grad():
        assert full_decoder(64).eval()(torch.rand(1, 64), size).shape == (1, 3, *size)


def test_the_output_is_linear_for_normalised_targets_have_both_signs():
    images = light_decoder(64)(torch.rand(4, 64), (32, 32))
    assert float(images.detach().min()) < 0 < float(images.detach().max())


def test_a_block_enlarges_then_convolves():
    block = UpBlock(2, 3).eval()
    maps = torch.randn(1, 2, 2, 2)
    large = maps.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    expected = F.relu(F.conv2d(large, block.convolution.weight, padding=1) / (1 + 1e-5) ** 0.5)
    torch.testing.assert_close(block(maps, (4, 4)), expected)


def test_a_bottleneck_equals_a_bottleneck_that_enlarges_first():
    """Nearest-neighbour resizing commutes with what acts on each position by itself."""
    torch.manual_seed(0)
    block = MirroredBottleneck(8, 4).eval()
    maps = torch.randn(2, 8, 3, 3)
    large = maps.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    inner = F.relu(block.spread(F.relu(block.narrow(large))))
    expected = F.relu(block.widen(inner) + block.skip(large))
    torch.testing.assert_close(block(maps, (6, 6)), expected)
