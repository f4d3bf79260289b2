"""gan2shape: depth, albedo, viewpoint and light of one image, learnt from a 2D GAN (Pan et al., ICLR 2021).

Heavy imports happen inside the functions that need them, so that `gan2shape --help` answers at once.
"""

__version__ = "0.1.0"
