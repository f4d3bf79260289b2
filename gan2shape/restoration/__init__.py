"""Restoration and editing of pictures with a GAN prior: tasks, methods by name, composition, edits of solutions."""
