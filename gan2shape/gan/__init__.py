"""The 2D prior: StyleGAN2 networks in plain PyTorch, their training, and the packs that carry them."""
