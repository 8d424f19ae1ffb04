"""The channel graph: a network traced into operations, and which channels feed which.

Tracing, in the order of the steps:

- `tracer`: from a model to its channel graph; `graphs` tries one tracing method after the other.
- `tracing_methods`: torch.fx, torch.fx with shapes, torch.export.
- `symbolic_tracers`: tracers of torch.fx that go through hooks and replaced forward methods.
- `shape_tracing`: tracing with known shapes, for forward methods that decide by them.
- `changing_strides`: one stride for convolutions that are called with several.
- `functional_layers`: layers in place of calls of `conv2d` and `linear`.
- `functionalization`: new results in place of in-place operations.
- `value_recording`: shapes, and values that are the same for all images.
- `error_reasons`: the reason of an error in a user's code, with its line.

Channels:

- `channel_tracking`: from traced operations to channel nodes.
- `channel_rules`: a rule for each operation.
- `channel_joins`: rules for concatenation and stacking.
- `index_tracing`: operations that only move values, run on numbers of values.
- `image_mixing`: a test whether operations without a rule mix images.
- `layer_naming`: names of layers, `conv1`, `fc2`.
- `node_calls`: operations run one by one.
- `channel_nodes`: the types: nodes, edges, layers.
- `channel_graph`: the graph.

Questions to the graph:

- `node_lookup`: nodes by the words of targets.
- `targets`: a plan's target as a node and its units.
- `reachability`: kernels on paths to a target.
- `channel_origins`: layers and channels that channels stem from.
- `receptive_field`: pixels that a position sees.

Verification:

- `trace_verification`: a traced network compared with the network itself.
- `target_verification`: nodes of targets compared with the outputs of their modules.
- `module_runs`: runs of the network itself.
- `output_difference`: the comparison of outputs, up to rounding.
- `verification_findings`: what is said where they differ.
"""
