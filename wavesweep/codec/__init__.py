"""The file format: entropy coding, container, and decoding without data or training code."""
