"""Image files to pixels: `decode` reads all formats; the others are its parts. `folders` finds files."""
