"""The services of the mesh; each runs alone and imports only shared."""
