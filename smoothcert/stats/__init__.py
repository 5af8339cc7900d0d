"""The statistics of a certificate: bounds, looks, stopping, procedure, verification. No I/O."""
