"""Backbones by name, of every library."""

import pytest
import torch
from torchvision import models

from fgembed.backbones import make_backbone
from fgembed.backbones.from_torchvision import TRUNKS
from fgembed.errors import ConfigError

SMALL = [
    "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "squeezenet1_1", "mnasnet0_5",
    "shufflenet_v2_x0_5", "regnet_y_400mf", "resnet18",
]  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_a_trunk_gives_the_features_that_the_classifier_is_fed(name: str):
    """The mean of the map through the model's own classifier equals the model's output."""
    torch.manual_seed(0)
    model = models.get_model(name, weights=None).eval()
    backbone = make_backbone(f"torchvision/{name}").eval()
    state = model.state_dict()
    backbone.trunk.load_state_dict({key: state[key] for key in backbone.trunk.state_dict()})
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        features = backbone(images)
        head = getattr(model, "classifier", None) or model.fc
        if name == "squeezenet1_1":
            output = head(features).flatten(1)
        else:
            output = head(features.mean(dim=(2, 3)))
        torch.testing.assert_close(output, model(images), rtol=1e-4, atol=1e-5)
    assert features.shape[1] == backbone.channels


def test_the_table_of_trunks_covers_the_tested_models():
    classes = {type(models.get_model(name)).__name__ for name in SMALL}
    assert classes <= set(TRUNKS)


def test_a_backbone_may_end_at_a_layer():
    assert make_backbone("torchvision/resnet18:layer3").channels == 256
    assert make_backbone("torchvision/mobilenet_v2:features.13").channels == 96


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "resnet18",
            "expected <library>/<name>; give a <library> that is one of torchvision, timm",
        ),
        ("timmm/resnet18", "no backbone 'timmm/resnet18'.*one of torchvision, timm, open_clip"),
        ("torchvision/resnet19", "did you mean 'resnet1"),
        ("torchvision/swin_t", "gives no feature map that fgembed can read; choose a model of one"),
        ("torchvision/resnet18:layer9", "did you mean 'layer"),
        (
            "torchvision/resnet18:conv1.weight",
            "layer 'conv1' has no 'weight' to end.*; end the backbone's name at ':conv1'",
        ),
    ],
)
def test_an_unknown_backbone_is_refused(name: str, message: str):
    with pytest.raises(ConfigError, match=message):
        make_backbone(name)
