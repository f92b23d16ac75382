"""What a training method is: a loss over views. It knows nothing of data, device or logging."""

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from fgembed.backbones import Backbone
from fgembed.config import Settings, ViewSettings
from fgembed.data.views import TwoViews, ViewMaker
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.encoder import Encoder
from fgembed.model.pooling import GeMPooling, MeanPooling, Pooling


class Method(nn.Module):
    """One training method; `forward` is the loss, so DDP, AMP and compile wrap the call.

    Attributes:
        trained_poolings: the poolings with weights of their own that it trains.
        needs_attention: whether the method works on vision transformers only.
        encoder: what is trained and exported.
        progress: share of the training that is done, 0..1; the trainer sets it before a step.
    """

    class Config(Settings):
        """The method's own settings, the keys of the `method` table beside its name."""

    trained_poolings: ClassVar[tuple[type[Pooling], ...]] = ()
    needs_attention: ClassVar[bool] = False

    def __init__(self, encoder: Encoder, config: Any) -> None:
        super().__init__()
        self.encoder = encoder
        self.config = config
        self.progress = 0.0

    @classmethod
    def pooling_for(cls, backbone: Backbone) -> str:
        """The kind of pooling that reads its encoder unless another is asked for.

        GeM, but the mean of a signed map: GeM takes what is below zero as zero.
        """
        return MeanPooling.kind if backbone.signed else GeMPooling.kind

    @classmethod
    def view_maker(cls, settings: ViewSettings, spec: Preprocessing) -> ViewMaker:
        """What turns a picture into the views that `forward` takes."""
        return TwoViews(settings, spec)

    def forward(self, views: Sequence[Tensor]) -> dict[str, Tensor]:
        """The loss as named, already weighted terms; the trainer sums and logs them.

        Args:
            views: one (B, 3, H, W) tensor a view, normalised.
        """
        raise NotImplementedError

    def check_batch(self, batch_size: int) -> None:
        """Refuses a batch size that does not go with the settings, before anything is written.

        Raises:
            ConfigError: saying which setting to change.
        """

    def momentum_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """(query, key) modules; before each step the trainer moves the keys."""
        return []

    def momentum(self) -> float:
        """The keys' momentum at `progress`."""
        return 1.0

    def illustrate(self, views: Sequence[Tensor]) -> dict[str, Tensor]:
        """What a report can show of the method, by name: pictures or maps.

        Args:
            views: as `forward` takes them.

        Returns:
            Normalised pictures (B, 3, H, W), or maps (B, h, w) in [0, 1] to lay over views[0].
        """
        return {}

    def diagnose(self, views: Sequence[Tensor]) -> dict[str, float]:
        """Figures for the log at the end of an epoch; changes no state.

        Args:
            views: as `forward` takes them.
        """
        return {}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The optimisers' groups.

        A group that is `scaled` takes `optimiser.encoder_scale`; one with `adam`, a learning
        rate, gets an Adam of its own, under the same schedule.
        """
        inside = {id(parameter) for parameter in self.encoder.backbone.parameters()}
        backbone = [p for p in self.encoder.backbone.parameters() if p.requires_grad]
        heads = [p for p in self.parameters() if p.requires_grad and id(p) not in inside]
        return [{"params": backbone, "scaled": True}, {"params": heads, "scaled": False}]
