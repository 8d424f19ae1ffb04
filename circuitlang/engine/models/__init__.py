"""Networks: where they come from, their weights, preprocessing and outputs.

- `sources`: one file for each source of models.
- `catalog`: names of models, known without importing the packages that build them.
- `construction`: the part that all sources share: arguments, building, weights.
- `preprocess_arguments`: the preprocessing of images, by the source and the model statement.
- `input_channels`: the number of channels that a network takes.
- `checkpoint_reader`: files of weights, read as data.
- `hub_weights`: files of weights on the Hugging Face Hub.
- `state_dicts`: state dicts from checkpoints, matched with a network.
- `weights`: weights drawn, copied, moved and hashed.
- `sandbox`: a user's module, run without side effects.
- `outputs`: the outputs of a network, and the one with its classes.
- `layer_index`: layers of models that were built before, for the compiler.
"""
