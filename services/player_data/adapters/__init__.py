"""Stores of player_data, named after the product."""
