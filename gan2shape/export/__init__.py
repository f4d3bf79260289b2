"""Files for people: meshes, pictures, and one report page. Pure functions on plain tensors; every file is atomic."""
