"""A network as a graph of channels: traced or read, and checked against the network itself."""
