"""What tests stand on: clocks, issuers, processes."""
