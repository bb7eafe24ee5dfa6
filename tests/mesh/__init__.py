"""Three processes over sockets."""
