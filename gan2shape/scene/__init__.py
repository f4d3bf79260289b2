"""Camera, light, rasterisers and the height field renderer: pure functions on tensors."""
