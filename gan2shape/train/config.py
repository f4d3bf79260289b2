"""Settings of a generator's training."""

from dataclasses import dataclass, field

from gan2shape.core.config import GREATEST_SEED, Finite, need
from gan2shape.nn.discriminator import DiscriminatorConfig
from gan2shape.nn.generator import GeneratorConfig
from gan2shape.train import objectives


@dataclass(frozen=True)
class TrainConfig(Finite):
    """Defaults for 64 x 64 synthetic categories on two CPU cores."""

    kimg: float = 300.0  # thousands of real images to show
    batch: int = 16  # images per step
    lr: float = 2e-3  # Adam, both networks
    beta2: float = 0.99  # Adam; beta1 is 0
    objective: str = "logistic"  # "logistic", "least-squares" (both with R1), or "wgan-gp"
    critic_steps: int = 1  # updates of the discriminator to one of the generator (WGAN-GP: 5)
    slope_weight: float = 10.0  # of wgan-gp's (|dD/dx| - 1)^2, at each step
    r1_gamma: float = 0.15  # R1 weight; the loss carries gamma / 2
    r1_interval: int = 16  # steps between R1 penalties
    path_weight: float = 0.0  # path-length penalty (published 2); 0 turns it off
    path_interval: int = 8  # steps between path-length penalties
    path_decay: float = 0.01  # of the running mean path length
    path_batch_fraction: float = 0.5  # of the batch that the path-length penalty uses
    path_from: float = 0.0  # fraction of training after which the path-length penalty starts
    mixing_probability: float = 0.5  # of style mixing per image
    ema_half_life_kimg: float = 5.0  # half-life of the averaged generator
    ema_ramp: float = 0.05  # the half-life is at most this fraction of the images seen
    w_avg_beta: float = 0.998  # decay of the running mean of w, per step
    lr_decay_from: float = 0.8  # fraction of training after which lr falls linearly; 1 keeps it
    lr_final: float = 0.1  # lr at the end, relative
    autoencoding_share: float = 0.5  # of the batch that reproduces real images; 0 is the published adversarial training
    pixel_weight: float = 300.0  # of the reproduction's smooth L1, images in [-1, 1]
    feature_weight: float = 12.0  # of its relative difference in discriminator features
    divergence_weight: float = 3e-3  # per nat between the encoder's latents and a normal distribution
    coverage_weight: float = 0.1  # of the evenness of the latents' directions
    class_weight: float = 0.0  # of the classes that the discriminator reads, for both players; where classes are learnt
    mapping_rate: float = 1.0  # learning rate of the mapping network and class vectors relative to their usual one
    labels: bool = False  # learn the classes that stand beside the images (`gan2shape synth --shards --labels`)
    flips: bool = False  # mirror images at random (symmetric categories, with light and view symmetric too)
    instance_noise: float = 0.05  # sd of the noise on every image that the discriminator sees, images in [-1, 1]
    instance_noise_start: float = 0.3  # the same at the start: only coarse structure is judged at first
    instance_noise_fade_kimg: float = 140.0  # thousands of images over which it falls to `instance_noise`
    precision: str = "auto"  # "fp32", "bf16" or "auto": bf16 where a short timing finds it faster
    device: str = "auto"  # "cpu", "cuda", "mps" or "auto"
    n_threads: int = 0  # CPU threads; 0: one or all, whichever is faster, asked again at every checkpoint
    seed: int = 0  # of weights and samples
    checkpoint_seconds: float = 180.0  # a crash loses at most this much work
    sheet_kimg: float = 10.0  # thousands of images between sample sheets
    report_kimg: float = 1.0  # thousands of images between lines of statistics
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)

    def check(self) -> None:
        need(self.batch > 0, f"batch={self.batch} has to be above 0")
        need(self.lr > 0 and 0 <= self.beta2 < 1, "lr has to be above 0, and beta2 in [0, 1)")
        known = ", ".join(objectives.OBJECTIVES)
        need(self.objective in objectives.OBJECTIVES, f"objective={self.objective} is unknown: {known}")
        need(self.critic_steps > 0, f"critic_steps={self.critic_steps} has to be above 0")
        need(
            self.critic_steps == 1 or self.autoencoding_share == 0,
            "critic_steps above 1 train no encoder: set autoencoding_share=0 too",
        )
        need(min(self.r1_interval, self.path_interval) > 0, "r1_interval and path_interval have to be above 0")
        for name in ("path_batch_fraction", "mixing_probability", "ema_ramp", "w_avg_beta", "autoencoding_share"):
            need(0 <= getattr(self, name) <= 1, f"{name}={getattr(self, name)} has to lie between 0 and 1")
        for name in ("kimg", "report_kimg", "sheet_kimg", "ema_half_life_kimg", "mapping_rate"):
            need(getattr(self, name) > 0, f"{name}={getattr(self, name)} has to be above 0")
        weights = ("r1_gamma", "path_weight", "slope_weight", "class_weight")
        for name in (*weights, "instance_noise", "instance_noise_start", "n_threads"):
            need(getattr(self, name) >= 0, f"{name}={getattr(self, name)} is negative")
        reproduced = round(self.autoencoding_share * self.batch)
        need(reproduced > 0 or self.autoencoding_share == 0, "autoencoding_share has to be an image at least, or 0")
        need(0 <= self.seed <= GREATEST_SEED, f"seed={self.seed} has to lie between 0 and {GREATEST_SEED}")
        own, other = self.generator.resolution, self.discriminator.resolution
        need(own == other, f"generator and discriminator differ in resolution, {own} and {other}")
