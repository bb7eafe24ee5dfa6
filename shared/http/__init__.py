"""HTTP at the edge: application, bodies, problems, server, outbound client."""
