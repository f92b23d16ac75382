"""What a training method is: a loss over views. It knows nothing of data, device or logging."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from fgembed.backbones import Backbone
from fgembed.config import Settings, ViewSettings
from fgembed.data.views import TwoViews, ViewMaker
from fgembed.images.preprocessing import Preprocessing
from fgembed.methods.components.target_settings import TeacherSettings
from fgembed.model.encoder import Encoder
from fgembed.model.pooling import GeMPooling, MeanPooling, Pooling
from fgembed.model.reading.whitening import Whitening


class Method(nn.Module):
    """One training method; `forward` is the loss, so DDP, AMP and compile wrap the call.

    Attributes:
        trained_poolings: the learned poolings that the method trains.
        needs_attention: whether it works on vision transformers only.
        takes_targets: whether it learns vectors that the untouched start gives; see `take_targets`.
        encoder: what is trained and exported.
        progress: the completed share of the training, 0..1; the trainer sets it before a step.
        target_sizes: those at which the untouched start reads what `take_targets` is given,
            relative to the encoder's.
        targets: (N, D) unit vectors of the training images, by position; in no checkpoint.

    Example:
        class Agreement(Method):
            def forward(self, views: Sequence[Tensor]) -> dict[str, Tensor]:
                first, second = (self.encoder.features(view).mean((2, 3)) for view in views)
                return {"agreement": -F.cosine_similarity(first, second).mean()}
    """

    class Config(Settings):
        """The method's own settings: the keys of the `method` table beside `name`."""

    trained_poolings: ClassVar[tuple[type[Pooling], ...]] = ()
    needs_attention: ClassVar[bool] = False
    takes_targets: ClassVar[bool] = False
    targets: Tensor | None

    def __init__(self, encoder: Encoder, config: Any) -> None:
        super().__init__()
        self.encoder = encoder
        self.config = config
        self.progress = 0.0
        self.target_sizes: tuple[float, ...] = (1.0,)
        self.target_neighbours = 0
        self.target_teachers: tuple[TeacherSettings, ...] = ()
        self.target_grey: Literal["auto", "yes", "no"] = "no"
        self.register_buffer("targets", None, persistent=False)

    @classmethod
    def pooling_for(cls, backbone: Backbone) -> str:
        """The pooling kind that `pooling.kind = "auto"` stands for.

        GeM, but the mean for a signed map: GeM takes negative values as zero.
        """
        return MeanPooling.kind if backbone.signed else GeMPooling.kind

    @classmethod
    def view_maker(cls, settings: ViewSettings, spec: Preprocessing) -> ViewMaker:
        """What turns an image into the views that `forward` takes."""
        return TwoViews(settings, spec)

    def take_views(self, settings: ViewSettings) -> None:
        """Says how the images vary, to a method that makes further views of its own."""

    def take_targets(
        self, targets: Tensor, layer: Whitening | None = None, centre: Tensor | None = None
    ) -> None:
        """Takes what the images are to be mapped to, before the training.

        They are those of the start at `target_sizes`, grey too by `target_grey`, and of
        `target_teachers`, with up to `target_neighbours` neighbours.

        Args:
            targets: (N, D) unit vectors by position; zero for an image that could not be read.
            layer: predicts them from the encoder's joined vectors; None leaves the start as it is.
            centre: of the levels that the layer takes; None where there are none.
        """

    def forward(self, views: Sequence[Tensor]) -> dict[str, Tensor]:
        """The loss as named, already weighted terms; the trainer sums and logs them.

        Args:
            views: one (B, 3, H, W) tensor for each view, normalised; after those of a `Positioned`
                maker (B) positions.
        """
        raise NotImplementedError

    def check_batch(self, batch_size: int) -> None:
        """Refuses a batch size that does not fit the settings, before anything is written.

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
        """What a report can show of the method, by name: images or maps.

        Args:
            views: as `forward` takes them.

        Returns:
            Normalised images (B, 3, H, W), or maps (B, h, w) in [0, 1] to lay over views[0].
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

        A group with `scaled` set takes `optimiser.encoder_scale`. One with `adam`, a learning
        rate, gets its own Adam under the same schedule.
        """
        inside = {id(parameter) for parameter in self.encoder.backbone.parameters()}
        backbone = [p for p in self.encoder.backbone.parameters() if p.requires_grad]
        heads = [p for p in self.parameters() if p.requires_grad and id(p) not in inside]
        return [{"params": backbone, "scaled": True}, {"params": heads, "scaled": False}]
