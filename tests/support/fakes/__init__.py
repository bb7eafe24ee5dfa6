"""Platforms as servers of their own: real sockets, named scenarios, and they count."""
