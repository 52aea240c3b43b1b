"""Every feature of the mesh, each written once."""
