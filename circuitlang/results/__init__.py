"""Results: frozen types, and the store that writes and reads result folders. No torch."""
