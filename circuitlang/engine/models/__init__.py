"""Networks: their sources, weights, preprocessing and outputs."""
