"""The rotation protocol, proven by enumeration: every crash, every race, sixty days."""
