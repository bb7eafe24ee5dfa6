"""Stores of identity, named after the product."""
