"""A plan's items as a file: written beside, moved into place."""
