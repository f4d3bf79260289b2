"""Degradations: what happened to a picture, as differentiable functions that compose."""
