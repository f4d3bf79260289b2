"""Inversion: the latent that explains an image."""
