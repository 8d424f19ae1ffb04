; Made by `python editors/treesitter.py`; do not edit.

(comment) @comment
[(string) (path)] @string
(number) @number
[(relation) (sign) (every) "=" ".." "*" "<-"] @operator
["(" ")" "[" "]" "{" "}"] @punctuation.bracket
["," ":" "@"] @punctuation.delimiter
["against" "as" "circuit" "compare" "defaults" "edit" "except" "expect" "group" "images" "in" "include" "into" "label" "measure" "model" "on" "preserve" "split" "target"] @keyword

(name) @variable
(suffix) @variable
(call (name) @function)
([(call (name) @keyword) (concept (name) @keyword)]
 (#match? @keyword "^(class|concept|each|joint|vector)$"))
(model [(name) (call (name))] @type)
(target . [(name) (layers) (string)] @type)
(position (name) @constant.builtin)
(transform [(name) @constant.builtin (call (name) @constant.builtin)])
((clause (name) @property)
 (#match? @property "^((train|test|contrast)[.])?(ablation|also|calibrate|contrast|correlation|criterion|error|holdout|keep|kernels|limit|patch|pearson|pearson_demeaned|r2|refill|robust|scale|seed|sparsity|spearman|stable|structure|test|tests|within)$"))
(keyword (name) @variable.parameter)
(circuit (name) @type.definition)
(edit (name) @type.definition)
(images (name) @type.definition)
(direction (name) @type.definition)
([(clause (_) (relation) (name) @constant.builtin)
  (clause (_) (relation) (call (name) @constant.builtin))
  (clause (_) (relation) (list (name) @constant.builtin))
  (call (_) (name) @constant.builtin)
  (call (_) (call (name) @constant.builtin))
  (keyword (_) (name) @constant.builtin)
  (split (name) @constant.builtin)]
 (#match? @constant.builtin "^(actgrad|affine|all|annealed|auto|bias|blur|blurred|center|channel|cropped|equivalence|false|force|gn|greedy|grey|kernel|kernels|learned|live|magnitude|max|mean|minimality|necessity|none|optimal|path|random|resample|rotated|scrambled|shuffled|snip|stability|sufficiency|taylor|true|weight|zero)$"))
