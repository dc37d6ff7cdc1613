"""The lists of prompts, and the draws of a round."""
