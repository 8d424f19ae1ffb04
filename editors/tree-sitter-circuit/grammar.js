/**
 * The circuit language for tree-sitter: the rules of `grammar/circuit.lark`, with the same names.
 *
 * Statements end with lines, outside brackets: `src/scanner.c` tells the ends of statements from other line breaks.
 */

/// <reference types="tree-sitter-cli/dsl" />

const SPACE = /[ \t\r\f\v\u001c-\u001f\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff]/;
// Letters of ideographic scripts, of which tree-sitter's tables have the first and the last alone; the beginning of a
// word, and the rest of it, as Python's `\w` has them.
const IDEOGRAPHS = [
  '\\u3400-\\u4dbf', '\\u4e00-\\u9fff', '\\uac00-\\ud7a3', '\\u{17000}-\\u{187f7}', '\\u{18d00}-\\u{18d08}',
  '\\u{20000}-\\u{323af}',
].join('');
const FIRST = `[\\p{L}\\p{Nl}\\p{No}_${IDEOGRAPHS}]`;
const REST = `[\\p{L}\\p{N}_${IDEOGRAPHS}]`;
const DOTTED = `${FIRST}${REST}*(\\.${REST}+)*`;

// Characters of a path: no space, and none of those that end a word.
const PATH = /[^\s\u001c-\u001f\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"#;,\[\](){}<>=]*/;

const list = (rule) => seq(rule, repeat(seq(',', rule)));
const parentheses = ($, rule) => seq(alias($._parenthesis, '('), rule, alias($._parenthesis_end, ')'));
const brackets = ($, rule) => seq(alias($._bracket, '['), rule, alias($._bracket_end, ']'));
const braces = ($, rule) => seq(alias($._brace, '{'), rule, alias($._brace_end, '}'));
const clauses = ($) => choice(repeat1($.clause), braces($, repeat($.clause)));

module.exports = grammar({
  name: 'circuit',
  word: ($) => $.name,
  extras: ($) => [SPACE, $._line_break, $.comment],
  externals: ($) => [
    $._end, $._line_break, $._parenthesis, $._parenthesis_end, $._bracket, $._bracket_end, $._brace, $._brace_end,
    $._error,
  ],
  inline: ($) => [$._value, $._argument],

  rules: {
    source_file: ($) => seq(
      repeat($._end),
      optional(seq($._statement, repeat(seq(repeat1($._end), $._statement)), repeat($._end))),
    ),

    _statement: ($) => choice(
      $.model, $.images, $.direction, $.defaults, $.preserve, $.split, $.circuit, $.edit, $.compare, $.expect,
      $.include, $.label, $.group,
    ),
    model: ($) => seq('model', choice($.call, $.name)),
    images: ($) => seq('images', $.name, '=', $.selection, optional(clauses($))),
    direction: ($) => seq('target', $.name, '=', $.feature),
    defaults: ($) => seq('defaults', optional(clauses($))),
    preserve: ($) => seq('preserve', $.feature, 'on', $.selection, optional(clauses($))),
    split: ($) => seq('split', $.feature, 'on', $.selection, 'into', choice($.number, $.name), optional(clauses($))),
    circuit: ($) => seq('circuit', $.name, '=', choice($.preserve, $.split)),
    edit: ($) => seq(
      'edit', $.name, '=', choice($.kernel, $.target, $.string, $.member), optional(clauses($)), 'on', $.selection,
      repeat($.clause), 'measure', list($.feature),
    ),
    compare: ($) => seq('compare', list($.member)),
    expect: ($) => seq('expect', $.measure, $.relation, $._value),
    include: ($) => seq('include', $.string, optional(seq('as', $.name))),
    label: ($) => seq('label', $.target, $.string),
    group: ($) => seq('group', $.string, '=', $.target),

    feature: ($) => seq(optional($.sign), $.term, repeat(seq($.sign, $.term))),
    term: ($) => seq(optional(seq($.number, alias($._star, '*'))), choice($.target, $.located, $.call, $.concept, $.name)),
    kernel: ($) => seq($.target, '<-', $.target),
    target: ($) => seq(
      choice($.name, $.string, $.layers), ':', choice($.number, $.list, $.call, $.every), optional(seq('@', $.position)),
    ),
    concept: ($) => seq(
      $.name, parentheses($, seq($.contrasted, repeat(seq(',', $.keyword)), optional(','))),
    ),
    contrasted: ($) => seq($.selection, 'against', $.selection),
    located: ($) => seq(choice($.call, $.concept), 'in', choice($.name, $.string), optional(seq('@', $.position))),
    position: ($) => choice($.name, parentheses($, seq($.number, ',', $.number))),

    selection: ($) => seq($._value, optional(seq('except', $._value)), repeat($.transform)),
    transform: ($) => seq('as', choice($.call, $.name)),

    clause: ($) => seq($.name, $.relation, $._value),
    _value: ($) => choice($.number, $.string, $.name, $.path, $.list, $.call, $.range),
    list: ($) => brackets($, optional(seq(list($._value), optional(',')))),
    range: ($) => seq($.number, '..', $.number),
    call: ($) => seq($.name, parentheses($, optional(seq(list($._argument), optional(','))))),
    _argument: ($) => choice($._value, $.keyword),
    keyword: ($) => seq($.name, '=', $._value),

    member: ($) => seq($.name, optional(brackets($, list($.keyword)))),
    measure: ($) => seq($.name, optional(seq(brackets($, choice(list($.keyword), $.feature)), $.suffix))),

    relation: () => choice('<=', '>=', '=', '==', '<', '>'),
    sign: () => choice('+', '-'),
    every: ($) => alias($._star, '*'),
    _star: () => token(prec(2, '*')),
    name: () => new RegExp(DOTTED, 'u'),
    suffix: () => new RegExp(`\\.${DOTTED}`, 'u'),
    number: () => /[+-]?(\p{Nd}+(\.\p{Nd}+)?|\.\p{Nd}+)([eE][+-]?\p{Nd}+)?%?/,
    string: () => /"[^"\n]*"/,
    path: () => token(prec(1, seq(PATH, /[\/*?]/, PATH))),
    layers: () => token(prec(3, new RegExp(`(${FIRST}(${REST}|\\.)*)?\\*(${REST}|[.*])*`, 'u'))),
    comment: () => token(/#[^\n]*/),
  },
});
