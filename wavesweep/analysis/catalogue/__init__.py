"""The studies with published figures: a module each, with what belongs to it as data."""
