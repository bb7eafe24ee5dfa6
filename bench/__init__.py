"""CPU per request, measured beside its limit."""
