"""The signing keys' life: made, published, used, retired."""
