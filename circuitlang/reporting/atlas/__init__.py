"""The atlas of a network: a static site with a page for each channel.

- `entries`: a finished circuit as the site shows it.
- `links`: what circuits share: the channels that they pass through, and their kernels.
- `site`: entries to files.
"""
