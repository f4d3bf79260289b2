"""Objects and images with known 3D: procedural cars and heads, their renders, and the truth behind each pixel."""
