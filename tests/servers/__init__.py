"""Small real HTTP servers that behave like the model servers out there; see `base` for how to use them."""
