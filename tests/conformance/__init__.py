"""One contract per port, one subclass per backend."""
