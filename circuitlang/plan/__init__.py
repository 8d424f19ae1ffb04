"""Plans: frozen types, their YAML, their schema, and how two of them differ. No torch."""
