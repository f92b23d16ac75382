"""What a training method is: a loss over views. It knows nothing of data, device or logging."""

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from fgembed.config import Settings, ViewSettings
from fgembed.encoder import Encoder
from fgembed.images import Preprocessing
from fgembed.views import TwoViews, ViewMaker


class Method(nn.Module):
    """One training method; `forward` is the loss, so DDP, AMP and compile wrap the call.

    Attributes:
        trains_rationale: whether rationale-weighted pooling makes sense after it.
        pooling: the pooling that the method's encoder is read with unless another is asked for.
        encoder: what is trained and exported.
    """

    class Config(Settings):
        """The method's own settings, the keys of the `method` table beside its name."""

    pooling: ClassVar[str] = "gem"
    trains_rationale: ClassVar[bool] = False

    def __init__(self, encoder: Encoder, config: Any) -> None:
        super().__init__()
        self.encoder = encoder
        self.config = config

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

    def momentum_at(self, progress: float) -> float:
        """The keys' momentum at a share of the training in 0..1."""
        return 1.0

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The optimiser's groups; `scaled` ones take `optimiser.encoder_scale`."""
        backbone = list(self.encoder.backbone.parameters())
        inside = {id(parameter) for parameter in backbone}
        heads = [p for p in self.parameters() if p.requires_grad and id(p) not in inside]
        return [{"params": backbone, "scaled": True}, {"params": heads, "scaled": False}]
