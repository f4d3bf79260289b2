"""The method: prior shapes, sampling, networks, three steps, the loop, the reconstruction."""
