"""One module for each family of formats; each is a function of the content and its document."""
