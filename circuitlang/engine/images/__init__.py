"""Image sets: files found, decoded and batched.

- `file_patterns`: from patterns of the language to files.
- `wildcards`: names that a part of a pattern matches; `hub_patterns`: patterns of files on the Hugging Face Hub.
- `archives`: images in zip, tar and Parquet files; `parquet_files`: those of a Parquet file.
- `list_files`: files that a text file lists.
- `memory`: images that are objects of a Python program.
- `decoding`: from the content of a file to bands.
- `npy_files`: images of any number of channels from `.npy` files.
- `preprocessing`: from bands to network inputs, and to RGB for people.
- `image_set`: a set of images, hashed and batched.
"""
