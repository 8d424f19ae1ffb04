"""Image sets: files found, decoded and batched.

- `file_patterns`: from patterns of the language to files.
- `decoding`: from the content of a file to bands.
- `npy_files`: images of any number of channels from `.npy` files.
- `preprocessing`: from bands to network inputs, and to RGB for people.
- `image_set`: a set of images, hashed and batched.
"""
