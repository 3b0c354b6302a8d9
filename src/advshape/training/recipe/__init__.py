"""Read a recipe, check it in one pass, resolve it to a plan."""
