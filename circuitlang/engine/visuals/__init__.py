"""Images that show features: exemplars, activation maps, feature visualisations."""
