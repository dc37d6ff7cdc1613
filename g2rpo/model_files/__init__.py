"""Files of models that other people made: links, JSON and weights are checked before anything uses them."""
