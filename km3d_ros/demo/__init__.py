"""`make demo`: plays a rendered drive into the node; writes figures and an annotated video."""
