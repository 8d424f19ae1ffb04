;;; circuit-mode.el --- Major mode for circuit specs  -*- lexical-binding: t; -*-

;; Version: 0.1.0
;; Package-Requires: ((emacs "27.1"))
;; Keywords: languages

;;; Commentary:

;; Highlights and indents specs of circuitlang, and runs them.  With Eglot, which comes with Emacs 29 and is a package
;; for versions before, the language server shows mistakes, completes, explains and formats:
;;
;;   (add-to-list 'load-path "editors/emacs")
;;   (require 'circuit-mode)
;;   (add-hook 'circuit-mode-hook #'eglot-ensure)
;;
;; The keywords are in circuit-keywords.el, which is made from the language.

;;; Code:

(require 'circuit-keywords)

(defgroup circuit nil
  "Specs of circuitlang."
  :group 'languages)

(defcustom circuit-command "circuitlang"
  "The program that checks, plans and runs specs."
  :type 'string)

(defcustom circuit-indent-offset 2
  "Columns that clauses in braces are indented by."
  :type 'integer)

(defvar circuit-mode-syntax-table
  (let ((table (make-syntax-table)))
    (modify-syntax-entry ?# "<" table)
    (modify-syntax-entry ?\n ">" table)
    (modify-syntax-entry ?\" "\"" table)
    (modify-syntax-entry ?' "." table)
    (modify-syntax-entry ?. "_" table)
    (dolist (sign '(?+ ?- ?* ?/ ?% ?= ?< ?> ?@))
      (modify-syntax-entry sign "." table))
    table)
  "Syntax of specs: a comment ends with its line, and names have dots.")

(defconst circuit-font-lock-keywords
  `((,(concat "\\(?:^\\|;\\)[ \t]*" (regexp-opt circuit-statements 'symbols)) 1 font-lock-keyword-face)
    ("=[ \t]*\\_<\\(preserve\\|split\\)\\_>[ \t]" 1 font-lock-keyword-face)
    ("\\_<\\(?:circuit\\|images\\|target\\)[ \t]+\\([^ \t\n=]+\\)[ \t]*=" 1 font-lock-variable-name-face)
    (,(concat (regexp-opt circuit-words 'symbols)) 1 font-lock-keyword-face)
    (,(concat (regexp-opt circuit-calls 'symbols) "(") 1 font-lock-keyword-face)
    (,(concat "\\_<\\(\\(?:\\(?:train\\|test\\|contrast\\)\\.\\)?" (regexp-opt circuit-clauses) "\\)[ \t]*\\(?:<=\\|>=\\|=\\)")
     1 font-lock-builtin-face)
    ("\\([^][ \t\n,=(){}]+\\):\\(?:[0-9[*]\\|joint(\\)" 1 font-lock-type-face)
    (,(concat "[=(,@][ \t]*" (regexp-opt circuit-constants 'symbols)) 1 font-lock-constant-face)
    ("[^][ \t\n\"#;,(){}<>=]*[/*?][^][ \t\n\"#;,(){}<>=]*" . font-lock-string-face))
  "Highlighting of specs, by the keywords of the language.")

(defun circuit-indent-line ()
  "Indent a line by the brackets that are open before it."
  (interactive)
  (let* ((depth (save-excursion
                  (beginning-of-line)
                  (car (syntax-ppss))))
         (closes (save-excursion
                   (back-to-indentation)
                   (memq (char-after) '(?\) ?\] ?}))))
         (column (* circuit-indent-offset (max 0 (if closes (1- depth) depth)))))
    (if (<= (current-column) (current-indentation))
        (indent-line-to column)
      (save-excursion (indent-line-to column)))))

(defun circuit--compile (subcommand)
  "Save the buffer and compile its file by a SUBCOMMAND of the program."
  (save-buffer)
  (compile (mapconcat #'shell-quote-argument (list circuit-command subcommand buffer-file-name) " ")))

(defun circuit-run ()
  "Run the circuits of the file."
  (interactive)
  (circuit--compile "run"))

(defun circuit-plan ()
  "Show what the circuits of the file cost."
  (interactive)
  (circuit--compile "plan"))

(defvar circuit-mode-map
  (let ((map (make-sparse-keymap)))
    (define-key map (kbd "C-c C-c") #'circuit-run)
    (define-key map (kbd "C-c C-p") #'circuit-plan)
    map)
  "Keys of `circuit-mode'.")

;;;###autoload
(define-derived-mode circuit-mode prog-mode "Circuit"
  "Major mode for specs of circuitlang."
  (setq-local comment-start "# ")
  (setq-local comment-start-skip "#+[ \t]*")
  (setq-local comment-end "")
  (setq-local indent-line-function #'circuit-indent-line)
  (setq-local font-lock-defaults '(circuit-font-lock-keywords)))

;;;###autoload
(add-to-list 'auto-mode-alist '("\\.circuit\\'" . circuit-mode))

(defvar eglot-server-programs)
(with-eval-after-load 'eglot
  (add-to-list 'eglot-server-programs `(circuit-mode . (,circuit-command "lsp"))))

(provide 'circuit-mode)
;;; circuit-mode.el ends here
