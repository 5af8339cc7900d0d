"""Back ends that classify noisy copies, and the choice of the fastest one on this machine."""
