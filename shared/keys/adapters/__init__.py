"""Where the key ring and the JWK Set are kept, named after the product."""
