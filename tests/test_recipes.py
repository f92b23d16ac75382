"""Published recipes hold the published values.

MoCo v2: arXiv:2003.04297 in the setting of LCR's code (github.com/GANPerf/LCR); MoCo v3:
arXiv:2104.02057 and its code; LCR, PP-SSL and LoDisc: the released code of arXiv:2303.01669,
2412.00134 (as LearnMat) and 2403.04066; SynPair: arXiv:2407.14676 as far as known.
"""

from typing import Any

import pytest

from fgembed.config import validate
from fgembed.methods.table import method_named
from fgembed.resolve import resolve

MOCO = {
    "optimiser.name": "sgd",
    "optimiser.epochs": 100,
    "optimiser.batch_size": 128,
    "optimiser.learning_rate": 0.03,
    "optimiser.encoder_scale": 1.0,
    "optimiser.momentum": 0.9,
    "optimiser.weight_decay": 1e-4,
    "optimiser.warmup_epochs": 0,
    "optimiser.decay": "epoch",
    "method.dimensions": 256,
    "method.queue_size": 65536,
    "method.momentum": 0.999,
    "method.temperature": 0.2,
    "method.projector_norm": False,
    "views.crop_scale": 0.2,
    "views.jitter": 0.4,
    "views.hue": 0.1,
    "views.grey_probability": 0.2,
    "views.blur_probability": 0.5,
    "views.asymmetric": False,
    "pooling.kind": "mean",
}
LCR = MOCO | {
    "pooling.kind": "rationale-floor",
    "method.weight": 0.01,
    "method.reduction": "sum",
    "method.map_temperature": 1.0,
    "method.axis": "row",
    "method.cam_scale": "none",
    "method.cam_sign": 1,
    "method.scale_over": "batch",
}
VIT_VIEWS = {
    "views.asymmetric": True,
    "views.crop_scale": 0.08,
    "views.jitter": 0.4,
    "views.hue": 0.1,
    "views.grey_probability": 0.2,
    "backbone.name": "torchvision/vit_b_16",
    "method.temperature": 0.2,
    "method.momentum": 0.99,
    "method.hidden": 4096,
    "method.projector_layers": 3,
    "method.predictor_norm": True,
    "optimiser.name": "adamw",
    "optimiser.decay": "step",
}
LODISC = VIT_VIEWS | {
    "method.keep": 0.3,
    "method.dropout": 0.2,
    "method.dimensions": 768,
    "method.freeze_patches": False,
    "optimiser.epochs": 100,
    "optimiser.batch_size": 32,
    "optimiser.learning_rate": 1.25e-4,
    "optimiser.weight_decay": 0.5,
    "optimiser.warmup_epochs": 0,
}
PUBLISHED: dict[str, dict[str, Any]] = {
    "moco-paper": MOCO,
    "lcr-paper": LCR | {"method.detach_target": False},
    "ppssl-paper": LCR
    | {
        "method.iadm": "released",
        "method.ais_weight": 1.2,
        "method.ais_reduction": "elements",
        "method.teacher": "ViT-B-32:openai",
        "method.teacher_normalisation": False,
    },
    "synpair-paper": MOCO
    | {
        "method.decoder": "full",
        "method.decoder_rate": 1e-4,
        "method.reconstruction_weight": 0.05,
        "method.pair_weight": 0.5,
        "method.warmup_share": 0.1,
        "method.ramp_share": 0.05,
        "method.variance_share": 0.3,
        "method.importance_share": 0.3,
        "method.noise_scale": 1.0,
        "method.bank_size": 4096,
    },
    "mocov3-paper": VIT_VIEWS
    | {
        "method.dimensions": 256,
        "method.freeze_patches": True,
        "optimiser.epochs": 300,
        "optimiser.warmup_epochs": 40,
        "optimiser.weight_decay": 0.1,
        "optimiser.learning_rate": 1.5e-4 * 128 / 256,
        "optimiser.batch_size": 128,
    },
    "lodisc-paper": LODISC
    | {"method.use_projector": True, "method.ema_repeats": 1, "pooling.kind": "class-token"},
    "lodisc-released": LODISC
    | {
        "method.use_projector": False,
        "method.ema_repeats": 4,
        "method.product": "scaled",
        "pooling.kind": "predictor",
    },
}
ALL = {"preprocessing.size": 224, "preprocessing.fit": "crop", "pooling.whitening": 0}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_recipe_holds_the_published_values(name: str):
    config = resolve({"recipe": name}, {}, name)
    method = validate(method_named(config.method.name).Config, config.method.model_extra, name)
    values = config.model_dump() | {"method": method.model_dump()}
    values["preprocessing"] = {"size": config.preprocessing.size, "fit": config.preprocessing.fit}
    expected = PUBLISHED[name] | ALL
    resolved = {key: values[key.partition(".")[0]][key.partition(".")[2]] for key in expected}
    assert resolved == pytest.approx(expected)
