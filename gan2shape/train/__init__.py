"""GAN training: data, objectives, the loop."""
