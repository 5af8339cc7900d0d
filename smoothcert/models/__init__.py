"""Model cards, checkpoints and architectures."""
