;;; circuit-keywords.el --- Keywords of circuit specs  -*- lexical-binding: t; -*-

;;; Commentary:

;; Made by `python editors/emacs.py'; do not edit.

;;; Code:

(defconst circuit-statements
  '("circuit"
    "compare"
    "defaults"
    "edit"
    "expect"
    "group"
    "images"
    "include"
    "label"
    "model"
    "preserve"
    "split"
    "target")
  "Words that begin statements.")

(defconst circuit-words
  '("against"
    "as"
    "except"
    "in"
    "into"
    "measure"
    "on")
  "Other words of the grammar.")

(defconst circuit-calls
  '("class"
    "concept"
    "each"
    "joint"
    "vector")
  "Words of the language that take arguments.")

(defconst circuit-clauses
  '("ablation"
    "also"
    "calibrate"
    "contrast"
    "correlation"
    "criterion"
    "error"
    "holdout"
    "keep"
    "kernels"
    "limit"
    "patch"
    "pearson"
    "pearson_demeaned"
    "r2"
    "refill"
    "robust"
    "scale"
    "seed"
    "sparsity"
    "spearman"
    "stable"
    "structure"
    "test"
    "tests"
    "within")
  "Names of clauses and metrics.")

(defconst circuit-constants
  '("actgrad"
    "affine"
    "all"
    "annealed"
    "auto"
    "bias"
    "blur"
    "blurred"
    "center"
    "channel"
    "cropped"
    "equivalence"
    "false"
    "force"
    "gn"
    "greedy"
    "grey"
    "kernel"
    "kernels"
    "learned"
    "live"
    "magnitude"
    "max"
    "mean"
    "minimality"
    "necessity"
    "none"
    "optimal"
    "path"
    "random"
    "resample"
    "rotated"
    "scrambled"
    "shuffled"
    "snip"
    "stability"
    "sufficiency"
    "taylor"
    "true"
    "weight"
    "zero")
  "Values, and names of built-in extensions.")

(provide 'circuit-keywords)
;;; circuit-keywords.el ends here
