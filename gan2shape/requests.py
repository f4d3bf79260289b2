"""What a caller asks of the main job, and what the job answers. Plain paths and numbers: importing this is instant."""

from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class RunRequest:
    """One run. At most one of `image`, `latent`, `seed` names the input; with none of them, seed 0 is sampled."""

    category: str  # names a YAML and a pack
    preset: str = "draft"  # names a YAML
    image: Path | None = None  # photo or render to explain
    mask: Path | None = None  # object mask of `image`, same size
    latent: Path | None = None  # .npz or .safetensors with one w
    seed: int | None = None  # seed of the sample that the pack's generator draws
    device: str = "auto"  # auto, cpu, cuda, cuda:0, mps
    out: Path = Path("runs")  # folder of the files; it exists and is writable
    resume: Path | None = None  # an earlier run's folder: go on after its last finished step
    overrides: tuple[str, ...] = ()  # key=value of the typed configuration


@dataclass(frozen=True)
class RunResult:
    """What a job wrote and found."""

    out_dir: Path  # where the files are
    files: dict[str, Path] = field(default_factory=dict)  # short name -> path
    figures: dict[str, float] = field(default_factory=dict)  # measured numbers, units in the names
    seconds: float = 0.0  # wall time of the job

    def as_json(self) -> dict:
        """Plain types for `--json`: paths become strings with forward slashes."""
        plain = asdict(self)
        plain["out_dir"] = self.out_dir.as_posix()
        plain["files"] = {name: Path(path).as_posix() for name, path in self.files.items()}
        return plain
