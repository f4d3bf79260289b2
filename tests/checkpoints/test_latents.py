"""Latents from elsewhere: every common way to keep one is read, everything else is one sentence."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from gan2shape.checkpoints.latents import read_latent
from gan2shape.core.errors import UserError

N_LAYERS, W_DIM = 6, 10
W = torch.linspace(-1, 1, W_DIM)
WPLUS = torch.linspace(-2, 2, N_LAYERS * W_DIM).view(N_LAYERS, W_DIM)


def safetensors(path: Path, value: dict) -> None:
    from safetensors.torch import save_file

    save_file(value, path)


WAYS: dict[str, tuple[Callable[[Path], None], torch.Tensor]] = {
    "bare.pt": (lambda path: torch.save(W, path), W),
    "row.pt": (lambda path: torch.save(W[None].double(), path), W),
    "old.pt": (lambda path: torch.save(WPLUS, path, _use_new_zipfile_serialization=False), WPLUS),
    "batch.pt": (lambda path: torch.save(WPLUS[None].requires_grad_(), path), WPLUS),
    "named.pt": (lambda path: torch.save({"noise": W, "latent": WPLUS}, path), WPLUS),
    "projected.pt": (lambda path: torch.save({"a.png": {"img": W, "latent": WPLUS, "noise": [W]}}, path), WPLUS),
    "beside_a_list.pt": (lambda path: torch.save({"w_opt": W, "noise": [W, W]}, path), W),
    "list.pt": (lambda path: torch.save([WPLUS], path), WPLUS),
    "columns.pt": (lambda path: torch.save(WPLUS.t().contiguous().t(), path), WPLUS),
    "w.npy": (lambda path: np.save(path, W.numpy()), W),
    "columns.npy": (lambda path: np.save(path, np.asfortranarray(WPLUS.numpy())), WPLUS),
    "big_endian.npy": (lambda path: np.save(path, W.numpy().astype(">f8")), W),
    "projected_w.npz": (lambda path: np.savez(path, w=WPLUS[None].numpy()), WPLUS),
    "packed.npz": (lambda path: np.savez_compressed(path, other=np.zeros(3), latent=W.numpy()), W),
    "w.safetensors": (lambda path: safetensors(path, {"latent": W}), W),
}


@pytest.mark.parametrize("name", WAYS)
def test_ways_to_keep_a_latent(name: str, tmp_path: Path) -> None:
    write, expected = WAYS[name]
    write(tmp_path / name)
    found = read_latent(tmp_path / name, N_LAYERS, W_DIM)
    assert found.shape == (1, *expected.shape)
    torch.testing.assert_close(found[0], expected)


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "other.npy": (lambda path: np.save(path, np.zeros((4, W_DIM))), "4 x 10 numbers"),
    "batch.npy": (lambda path: np.save(path, np.zeros((2, N_LAYERS, W_DIM))), "2 x 6 x 10"),
    "nan.npy": (lambda path: np.save(path, np.full(W_DIM, np.nan)), "not finite"),
    "text.npy": (lambda path: np.save(path, np.array(["a"])), "no plain numbers"),
    "objects.npy": (lambda path: np.save(path, np.array([{}], dtype=object), allow_pickle=True), "no plain numbers"),
    "two.npz": (lambda path: np.savez(path, a=np.zeros(W_DIM), b=np.zeros(W_DIM)), "2 arrays"),
    "bomb.npz": (lambda path: np.savez_compressed(path, w=np.zeros(2**25)), "far more numbers"),
    "short.npy": (lambda path: path.write_bytes(b"\x93NUMPY\x01\x00v\x00{'descr'"), "damaged"),
    "claim.npy": (lambda path: path.write_bytes(claim()), "damaged"),
    "none.npy": (lambda path: None, "does not exist"),
}


def claim() -> bytes:
    """A header that promises sixteen million numbers which are not there."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (4096, 4096), }\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, tmp_path: Path) -> None:
    write, cause = REFUSED[name]
    write(tmp_path / name)
    with pytest.raises(UserError, match=cause) as caught:
        read_latent(tmp_path / name, N_LAYERS, W_DIM)
    assert "\n" not in str(caught.value)
