"""`make demo`: a rendered drive through real topics, the node and back, as film and figures."""
