"""The studies, a module each, with what belongs to one as data; imports what `studies` does, and `studies` itself."""
