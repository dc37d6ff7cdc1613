"""Methods compared at an equal budget: a plan, its runs in the store, and the report of them."""
