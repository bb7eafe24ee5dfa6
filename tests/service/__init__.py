"""One real application over a socket."""
