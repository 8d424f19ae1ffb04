"""The subnetwork of a circuit as a module of its own."""
