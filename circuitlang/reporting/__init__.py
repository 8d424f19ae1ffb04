"""Result → files and terminal."""
