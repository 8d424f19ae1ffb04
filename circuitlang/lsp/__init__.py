"""The language server: what editors show while a spec is written. It never imports torch.

- `server`: the server, which calls a function of the other files for each request.
- `documents`: open buffers, the files they include, and their analysis.
- `positions`: places in a text as editors count them.
- `diagnostics`: the findings of the compiler.
- `lenses`: commands and results above circuits, and hints for what defaults decide; `commands`: these commands.
- `actions`: edits that correct mistakes.
- `context`: the statement before the cursor; `names`: the names that a file defines and includes.
- `tree`: the nodes of the syntax at a place.
- `hover`: what a word stands for; `last_results`: results of earlier runs.
- `formatting`: the one style, and folding.
- `navigation`: definitions, references, renaming, symbols and links; `occurrences`: where names are used.
- `completion`: words that may stand at the cursor; `file_completion`: paths.
"""
