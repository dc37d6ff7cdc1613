"""Care for the store and for what a run is made from: checks, lists of prompts, packages of rewards."""
