"""How a diagram is made: connections, their order, their places, pictures and words."""
