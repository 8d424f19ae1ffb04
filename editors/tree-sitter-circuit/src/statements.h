// Made by `python editors/treesitter.py`; do not edit.

// clang-format off
static const char *const STATEMENTS[] = {"model", "images", "target", "defaults", "preserve", "split", "circuit", "edit", "compare", "expect", "include", "label", "group"};
enum { LONGEST_STATEMENT = 8 };
