"""All that a service needs to trust the mesh's tokens."""
