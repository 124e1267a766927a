"""Keys, locks and atomic records: what survives a kill and is shared between processes."""
