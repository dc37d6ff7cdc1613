"""The lists of prompts, and what a round draws from them."""
