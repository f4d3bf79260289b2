"""The scene under the light that a pack's attribute network reads in the input: what an edit begins with.

L, the light network of the method, has learnt from single images alone and reads lights too near to their mean, so that
a light which hardly changes is taken for one that changes much. `measure.attributes` has learnt from renders whose
light is known. docs/editing.md has the figures. The shape, and all that a run writes, stay as the method found them.
"""

from dataclasses import replace

import torch

from gan2shape.measure.attributes import light_within
from gan2shape.scene.light import normals_from_depth, shade
from gan2shape.shape.reconstruct import Reconstruction
from gan2shape.shape.state import make_target


@torch.no_grad()
def with_read_light(made: Reconstruction) -> Reconstruction:
    """The reconstruction with another light in its scene, and the albedo that explains the input under it.

    Directions are kept in the box of the pack's lights, strengths at 0 or above. Nothing changes without an attribute
    network, and where the albedo is a network's own, which belongs to the light that it was learnt with.
    """
    attributes, networks = made.generator.prior.attributes, made.state.model.networks
    if attributes is None or not networks.explains_input:
        return made
    box, scene = made.config.lights, made.scene
    light = light_within(attributes, made.observation.image, box.lx, box.ly)
    shading = shade(normals_from_depth(scene.depth, made.config.render.fov_deg), light)
    albedo = networks.albedo(make_target(made.observation).surface, shading)
    return replace(made, scenes=(*made.scenes[:-1], replace(scene, light=light, albedo=albedo)))
