// The ends of statements, which other line breaks are not: a line break ends a statement outside brackets, and so
// does one before a line that begins like a statement, even where a bracket was left open.

#include "tree_sitter/alloc.h"
#include "tree_sitter/parser.h"

#include <string.h>

#include "statements.h"

// In the order of `externals` in grammar.js.
enum Token {
  END,
  LINE_BREAK,
  PARENTHESIS,
  PARENTHESIS_END,
  BRACKET,
  BRACKET_END,
  BRACE,
  BRACE_END,
  ERROR,
};

typedef struct {
  uint8_t depth;
} Scanner;

void *tree_sitter_circuit_external_scanner_create(void) {
  Scanner *scanner = ts_calloc(1, sizeof(Scanner));
  return scanner;
}

void tree_sitter_circuit_external_scanner_destroy(void *payload) { ts_free(payload); }

unsigned tree_sitter_circuit_external_scanner_serialize(void *payload, char *buffer) {
  buffer[0] = (char)((Scanner *)payload)->depth;
  return 1;
}

void tree_sitter_circuit_external_scanner_deserialize(void *payload, const char *buffer, unsigned length) {
  ((Scanner *)payload)->depth = length ? (uint8_t)buffer[0] : 0;
}

// Spaces but line feeds, as Python's `\s` has them, and the byte order mark.
static bool is_space(int32_t c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v' || (c >= 0x1c && c <= 0x1f) || c == 0x85 ||
         c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
         c == 0x205f || c == 0x3000 || c == 0xfeff;
}

static bool is_blank(int32_t c) { return c == ' ' || c == '\t'; }

// Whether a line begins like a statement: a word of `STATEMENTS`, spaces, and a letter or a quote.
static bool begins_statement(TSLexer *lexer) {
  char word[LONGEST_STATEMENT + 1];
  unsigned length = 0;
  while (is_blank(lexer->lookahead)) lexer->advance(lexer, false);
  while (lexer->lookahead >= 'a' && lexer->lookahead <= 'z' && length < LONGEST_STATEMENT) {
    word[length++] = (char)lexer->lookahead;
    lexer->advance(lexer, false);
  }
  word[length] = 0;
  if (!is_blank(lexer->lookahead)) return false;
  for (unsigned i = 0; i < sizeof STATEMENTS / sizeof *STATEMENTS; i++) {
    if (strcmp(word, STATEMENTS[i]) == 0) {
      while (is_blank(lexer->lookahead)) lexer->advance(lexer, false);
      int32_t c = lexer->lookahead;
      return c == '"' || c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
             c > 0x7f;
    }
  }
  return false;
}

static bool bracket(Scanner *scanner, TSLexer *lexer, const bool *valid, enum Token token, bool opens) {
  if (!valid[token]) return false;
  lexer->advance(lexer, false);
  if (opens && scanner->depth < UINT8_MAX) scanner->depth++;
  if (!opens && scanner->depth > 0) scanner->depth--;
  lexer->result_symbol = token;
  return true;
}

bool tree_sitter_circuit_external_scanner_scan(void *payload, TSLexer *lexer, const bool *valid) {
  Scanner *scanner = payload;
  while (is_space(lexer->lookahead)) lexer->advance(lexer, true);
  switch (lexer->lookahead) {
    case '\n':
      lexer->advance(lexer, false);
      lexer->mark_end(lexer);
      if (scanner->depth && valid[LINE_BREAK] && !begins_statement(lexer)) {
        lexer->result_symbol = LINE_BREAK;
        return true;
      }
      scanner->depth = 0;
      lexer->result_symbol = END;
      return valid[END];
    case ';':
      if (scanner->depth || !valid[END]) return false;
      lexer->advance(lexer, false);
      lexer->result_symbol = END;
      return true;
    case '(': return bracket(scanner, lexer, valid, PARENTHESIS, true);
    case ')': return bracket(scanner, lexer, valid, PARENTHESIS_END, false);
    case '[': return bracket(scanner, lexer, valid, BRACKET, true);
    case ']': return bracket(scanner, lexer, valid, BRACKET_END, false);
    case '{': return bracket(scanner, lexer, valid, BRACE, true);
    case '}': return bracket(scanner, lexer, valid, BRACE_END, false);
    default: return false;
  }
}
