"""Statistics of a split: clusters of images, and tests of whether their circuits differ."""
