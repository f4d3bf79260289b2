"""What `gan2shape build CATEGORY` is asked."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from gan2shape.bench.card import CardSizes
from gan2shape.build.attributes import AttributePlan
from gan2shape.build.confidence import ConfidencePlan
from gan2shape.build.editing import EditingPlan
from gan2shape.core.compose import compose
from gan2shape.core.requests import refuse_options
from gan2shape.core.resources import pack_dir
from gan2shape.prior.packs import load_pack
from gan2shape.shape.outlines import OutlinePlan
from gan2shape.shape.pretrain import PretrainConfig
from gan2shape.shape.relief import ReliefPlan
from gan2shape.shape.symmetry import SymmetryPlan
from gan2shape.train.grow import grown_settings
from gan2shape.train.loop import TrainConfig
from gan2shape.train.state import can_start_from

SPARE_IMAGES = 1000  # more than pre-training asks for: it passes over images whose object is not reproduced


@dataclass(frozen=True)
class BuildSizes:
    """How much each step does after the training."""

    segmenter_images: int = 512  # renders with masks that teach the mask head
    segmenter_steps: int = 400
    head_steps: int = 300
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    outlines: OutlinePlan = field(default_factory=OutlinePlan)
    symmetry: SymmetryPlan = field(default_factory=SymmetryPlan)
    relief: ReliefPlan = field(default_factory=ReliefPlan)
    verdict_images: int = 64  # of each kind, that the limits of verdicts are chosen on and rated with
    attributes: AttributePlan = field(default_factory=AttributePlan)
    confidence: ConfidencePlan = field(default_factory=ConfidencePlan)
    editing: EditingPlan = field(default_factory=EditingPlan)
    card: CardSizes = field(default_factory=CardSizes)


@dataclass(frozen=True)
class BuildRequest:
    """One pack of one category."""

    category: str  # of `gan2shape.synth`, with a YAML
    out: Path | None = None  # folder of the pack [weights/CATEGORY]
    work: Path | None = None  # folder of images, checkpoints and states [runs/train-CATEGORY]
    images: int = 48_000  # training images that are rendered
    kimg: float = TrainConfig.kimg  # thousands of images shown in training
    only: tuple[str, ...] = ()  # these of STEPS, made anew where they exist (the GAN is never replaced); () is all
    device: str = "auto"  # of the training and of the scene networks
    settings: tuple[str, ...] = ()  # key=value of `TrainConfig`
    dry_run: bool = False  # plan and stop
    natural: bool = False  # render every second training image as a photo might show it (`synth.natural`)
    grow: Path | None = None  # a whole pack of the category, to go on from at twice its resolution
    teacher: Path | None = None  # a whole pack of a related category, that generator and scene networks begin at
    sizes: BuildSizes = field(default_factory=BuildSizes)

    @property
    def pack(self) -> Path:
        """The folder of the pack."""
        return self.out or pack_dir(self.category)

    @property
    def folder(self) -> Path:
        """The training folder."""
        return self.work or Path("runs") / f"train-{self.category}"

    @property
    def data(self) -> dict[str, Path]:
        """Folders of rendered images, by rendering; each holds the same seeds."""
        images = self.folder / "images"
        return {"plain": images} | ({"natural": images.with_name("images-natural")} if self.natural else {})

    @property
    def begins_at(self) -> Path | None:
        """The pack whose scene networks take the place of ellipsoids."""
        return self.teacher or self.grow

    @property
    def trained_from(self) -> Path | None:
        """The pack that the training of the generator begins with: the one to grow, or a teacher with networks of the
        same sizes.
        """
        if self.grow is not None or self.teacher is None:
            return self.grow
        config, prior = self.training(), load_pack(self.teacher)
        return self.teacher if can_start_from(prior, config.generator, config.discriminator) else None

    def share(self, n: int) -> int:
        """How many of `n` training images, at least, are rendered into each folder."""
        return -(-n // len(self.data))

    def training(self) -> TrainConfig:
        """Settings of the training. Raises UserError for what `TrainConfig` does not have, and for a pack that cannot
        grow.
        """
        refuse_options(self.settings)
        networks = {} if self.grow is None else grown_settings(self.grow)
        config = compose(TrainConfig, overrides=("flips=true", *self.settings), calibration=networks)
        return replace(config, kimg=self.kimg, device=self.device)
