"""Export of a policy: its folder, its model card, its place in MLflow's registry."""
