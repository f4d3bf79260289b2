"""3D-aware and latent editing of a reconstructed image: other views and lights, as rendered and through the GAN."""
