"""Hydra's side: the command line, composition of settings, one-line errors. Imports everything below."""
