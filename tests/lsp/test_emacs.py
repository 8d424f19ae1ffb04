"""Emacs, with the mode of the repository and the configuration of the documentation."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGE = ROOT / "docs" / "guides" / "editors.md"
EDITORS = ROOT / "editors"
FOLDER = EDITORS / "emacs"
# Without a screen and with no configuration but that of the page; Eglot may be a package of the system.
ALONE = ("--batch", "--no-init-file", "--eval", "(package-activate-all)")
SPEC = """\
images d = images/dogs/*  # a comment
preserve conv9:34 on d keep<=5% criterion=snip
"""
PROGRAM = """
(defun show (&rest parts) (princ (format "> %s\\n" (mapconcat (lambda (part) (format "%s" part)) parts " "))))
(defun mistakes (count)
  (while (/= count (length (flymake-diagnostics)))
    (accept-process-output nil 0.05)
    (flymake-start))
  (dolist (mistake (flymake-diagnostics))
    (show (line-number-at-pos (flymake-diagnostic-beg mistake)) (flymake-diagnostic-text mistake)))
  (show count "mistakes"))
(defun ask (method) (jsonrpc-request (eglot-current-server) method (eglot--TextDocumentPositionParams)))
(find-file "a.circuit")
(show major-mode (and (memq #'eglot-ensure circuit-mode-hook) t))
(apply #'eglot (eglot--guess-contact))
(mistakes 1)
(search-forward "conv9")
(delete-char -1)
(insert "5")
;; It waits for Emacs to be idle, which it never is without a screen.
(eglot--signal-textDocument/didChange)
(mistakes 0)
(backward-char)
(show (plist-get (plist-get (ask :textDocument/hover) :contents) :value))
(goto-char (point-max))
(insert "preserve   conv5:3   on d keep <= 5%\\n")
(eglot-format)
(show (progn (forward-line -1) (buffer-substring (point) (line-end-position))))
(goto-char (point-max))
(insert "preserve conv5:3 on d cri")
(eglot--signal-textDocument/didChange)
(dolist (word (all-completions "" (nth 2 (eglot-completion-at-point))))
  (when (string-prefix-p "cri" word) (show word)))
"""
FACES = """
(require 'circuit-mode)
(with-temp-buffer
  (circuit-mode)
  (insert-file-contents "faces.circuit")
  (font-lock-ensure)
  (dolist (word '("circuit" "face" "preserve" "conv5" "on images" "images/dogs/*" "keep" "each" "criterion" "snip"
                  "# a"))
    (goto-char (point-min))
    (search-forward word)
    (princ (format "%s=%s\\n" word (get-text-property (match-beginning 0) 'face))))
  (goto-char (point-min))
  (search-forward "circuit two")
  (indent-region (point) (point-max))
  (princ (buffer-substring (line-beginning-position) (point-max))))
"""


def run(emacs: str, folder: Path, *arguments: str) -> str:
    """Run Emacs in a folder, with the program of this environment, and return what it prints on standard output."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "HOME": str(folder)}
    done = subprocess.run(
        [emacs, *ALONE, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def configuration() -> str:
    (text,) = re.findall(r"```elisp\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    return text.replace("~/circuitlang/editors/emacs", str(FOLDER))


def test_the_keywords_of_emacs_are_fresh() -> None:
    spec = importlib.util.spec_from_file_location("emacs", EDITORS / "emacs.py")
    assert spec is not None
    assert spec.loader is not None
    emacs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(emacs)
    assert emacs.FILE.read_text(encoding="utf-8") == emacs.lists(), "`make renew` writes it"


@pytest.mark.slow
def test_emacs_compiles_the_mode_without_a_warning(tmp_path: Path, emacs: str) -> None:
    names = ("circuit-keywords.el", "circuit-mode.el")
    for name in names:
        tmp_path.joinpath(name).write_bytes(FOLDER.joinpath(name).read_bytes())
    strict = "(setq byte-compile-error-on-warn t)"
    run(emacs, tmp_path, "-L", str(tmp_path), "--eval", strict, "-f", "batch-byte-compile", *names)
    assert {path.name for path in tmp_path.glob("*.elc")} == {f"{name}c" for name in names}


@pytest.mark.slow
def test_emacs_highlights_and_indents(tmp_path: Path, emacs: str) -> None:
    text = "circuit face = preserve conv5:34 on images/dogs/* keep<=each(5%, 10%) criterion=snip  # a comment\n"
    two = "circuit two = preserve conv5:34 on images/cats/* {\n{0}keep<=5%\n{0}tests=[\n{0}{0}all\n{0}]\n}\n"
    tmp_path.joinpath("faces.circuit").write_text(text + two.replace("{0}", ""))
    tmp_path.joinpath("faces.el").write_text(FACES)
    printed = run(emacs, tmp_path, "-L", str(FOLDER), "-l", "faces.el")
    *faces, _ = printed.splitlines()
    found = dict(line.rsplit("=", 1) for line in faces[:11])
    assert {word: face.removeprefix("font-lock-").removesuffix("-face") for word, face in found.items()} == {
        "circuit": "keyword", "face": "variable-name", "preserve": "keyword", "conv5": "type", "on images": "keyword",
        "images/dogs/*": "string", "keep": "builtin", "each": "keyword", "criterion": "builtin", "snip": "constant",
        "# a": "comment-delimiter",
    }  # fmt: skip
    assert printed.endswith(two.replace("{0}", "  "))


@pytest.mark.slow
def test_emacs_shows_mistakes_as_one_types(tmp_path: Path, emacs: str) -> None:
    tmp_path.joinpath("init.el").write_text(configuration())
    tmp_path.joinpath("program.el").write_text(PROGRAM)
    tmp_path.joinpath("a.circuit").write_text(SPEC)
    printed = run(emacs, tmp_path, "-l", "eglot", "-l", "init.el", "-l", "program.el")
    lines = [line.removeprefix("> ") for line in printed.splitlines() if line.startswith("> ")]
    assert lines[0] == "circuit-mode t"
    assert "E102" in lines[1]
    assert lines[1].startswith("2 ")
    assert "unknown layer 'conv9'" in lines[1]
    assert lines[2:4] == ["1 mistakes", "0 mistakes"]
    assert "conv5" in lines[4]
    assert lines[5:] == ["preserve conv5:3 on d keep<=5%", "criterion="]
