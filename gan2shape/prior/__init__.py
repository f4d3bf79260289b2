"""The frozen GAN of a category with all that is known about it: bundled, or from a checkpoint."""
