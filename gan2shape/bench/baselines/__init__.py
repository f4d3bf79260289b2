"""What the method is compared with, and learns from the same images: unsup3d, and our own network taught true depth."""
