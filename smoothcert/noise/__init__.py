"""The exact grid Gaussian, its random streams, and the sampler that classifies noisy copies."""
