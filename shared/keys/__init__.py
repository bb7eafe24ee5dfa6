"""The key ring, its states, and the signer."""
