"""Pictures: of methods on data that the eye can follow."""
