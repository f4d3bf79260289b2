"""Many images on many machines (extra `ray`): batches of a job as tasks of a Ray cluster.

The job's folder, the images and the weights lie on storage that every machine reaches under the same path. Workers
write the folders of their images; journal and page are written by this process alone, once a task has come back whole.
A task whose worker dies is run again elsewhere.
"""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from gan2shape.api import opened
from gan2shape.api_many import run_many, works_of
from gan2shape.core.config import ShapeConfig
from gan2shape.core.errors import UserError
from gan2shape.core.many import Item, ManyRequest, ManyResult
from gan2shape.core.progress import Reporter, silent
from gan2shape.core.requests import PATH_FIELDS, RunRequest
from gan2shape.prior.masked_generator import MaskedGenerator

VARIABLES = "GAN2SHAPE_"  # environment variables that workers are given too


@dataclass(frozen=True)
class RayOptions:
    """What each task asks of the cluster."""

    address: str | None = None  # of a running cluster; unless RAY_ADDRESS names one, a local cluster is started
    n_cpus: int = 1  # cores, and CPU threads of torch
    n_gpus: float = 0.0  # GPUs; a part lets several tasks share one
    images_per_task: int = 32
    n_retries: int = 3  # of a task whose worker or machine has died

    def task_options(self) -> dict[str, Any]:
        """For `ray.remote`."""
        return {"num_cpus": self.n_cpus, "num_gpus": self.n_gpus, "max_retries": self.n_retries}


def run_many_by_ray(request: ManyRequest, options: RayOptions | None = None, report: Reporter = silent) -> ManyResult:
    """`run_many` with the work done by a Ray cluster. Raises UserError as it does, and where Ray is not installed or
    the cluster cannot be reached.
    """
    ray, options = _ray(), options or RayOptions()
    is_ours = not ray.is_initialized()
    if is_ours:
        given = {name: value for name, value in os.environ.items() if name.startswith(VARIABLES)}
        try:
            ray.init(
                options.address,
                runtime_env={"env_vars": given},
                log_to_driver=False,
                include_dashboard=False,
                logging_level=logging.ERROR,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UserError(f"the Ray cluster cannot be reached ({error}): check its address.") from error
    try:
        return run_many(_absolute(request), report, partial(_by_ray, options))
    finally:
        if is_ours:
            ray.shutdown()


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise UserError('--launcher ray needs Ray: run `pip install "gan2shape[ray]"`, or leave it away.') from error
    return ray


def _absolute(request: ManyRequest) -> ManyRequest:
    """Workers have folders of their own."""
    paths = {name: getattr(request.run, name) for name in PATH_FIELDS}
    run = replace(request.run, **{name: path.absolute() for name, path in paths.items() if path is not None})
    masks = None if request.masks is None else request.masks.absolute()
    return ManyRequest(run, tuple(image.absolute() for image in request.images), masks)


def _by_ray(
    options: RayOptions,
    request: RunRequest,
    items: list[Item],
    generator: MaskedGenerator,
    config: ShapeConfig,
    report: Reporter,
) -> Iterator[dict]:
    """Rows of the journal as tasks come back; one that has failed for good does not stop the others."""
    ray = _ray()
    task = ray.remote(**options.task_options())(rows_of_batch)
    step = options.images_per_task
    waiting = {task.remote(request, items[i : i + step]): len(items[i : i + step]) for i in range(0, len(items), step)}
    failures, lost = ray.exceptions, 0
    deaths = (failures.WorkerCrashedError, failures.NodeDiedError, failures.OutOfMemoryError)
    while waiting:
        (ready,), _ = ray.wait(list(waiting))
        n_images = waiting.pop(ready)
        try:
            rows = ray.get(ready)
        except deaths:
            lost += n_images
            continue
        yield from rows
    if lost:
        raise UserError(f"Workers died again and again over {lost} images: the same command goes on with them.")


def rows_of_batch(request: RunRequest, items: list[Item]) -> list[dict]:
    """A task: the images' folders are written, and their rows of the journal come back."""
    generator, config = opened(request)
    return list(works_of(generator, config)(request, items, generator, config, silent))
