"""The text of a filter → a tree: which words and signs there are, how much of them, and what a value may be.

sqlglot reads the text. It knows all of SQL, so the tokens pass an allow-list first, and every word that is not an
operator here is handed on as a quoted name: ``group``, ``date`` or ``case`` are fields like any other, and no word
can start a function, a cast, a subquery or a statement. The tree passes a second allow-list, in
:mod:`mmsearch.store.filters`.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Any, NamedTuple, NoReturn, TypeAlias

from sqlglot import Token, Tokenizer, TokenType, exp
from sqlglot.errors import ParseError, SqlglotError, TokenError
from sqlglot.parser import Parser

from mmsearch.errors import FilterError

MAX_CHARS = 10_000
MAX_OPERATORS = 200
MAX_NESTING = 20  # sqlglot takes 25 frames of Python's 1,000 for each level
MAX_DEPTH = 16

Tree: TypeAlias = exp.Expr
HINT = "allowed: fields, = != < <= > >=, and, or, not, in, like, between, is null, numbers, 'text', true, false, :name"
_WORDS = {
    "and": TokenType.AND,
    "or": TokenType.OR,
    "not": TokenType.NOT,
    "in": TokenType.IN,
    "like": TokenType.LIKE,
    "between": TokenType.BETWEEN,
    "is": TokenType.IS,
    "null": TokenType.NULL,
    "true": TokenType.TRUE,
    "false": TokenType.FALSE,
}
_COMPARISONS = {TokenType.EQ, TokenType.NEQ, TokenType.LT, TokenType.LTE, TokenType.GT, TokenType.GTE}
_COUNTED = {*_COMPARISONS, *_WORDS.values(), TokenType.DASH} - {TokenType.TRUE, TokenType.FALSE, TokenType.NULL}
_PLAIN = {*_COMPARISONS, TokenType.STRING, TokenType.NUMBER, TokenType.COMMA, TokenType.DOT, TokenType.DASH}
_PLAIN |= {TokenType.L_PAREN, TokenType.R_PAREN, TokenType.COLON}
_WORD = re.compile(r"[^\W\d]\w*")
_TWO = {"this", "expression"}
# What the compiler reads of a node. Anything else there would be passed over, and change what is found: a later sqlglot
# may well say more (as one version wrote "not like" as a Like with ``negate``), so it is refused.
_ARGS: dict[type[exp.Expr], set[str]] = {
    **dict.fromkeys((exp.And, exp.Or, exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.Dot), _TWO),
    **dict.fromkeys((exp.Like, exp.Is), _TWO | {"negate"}),
    **dict.fromkeys((exp.Not, exp.Paren, exp.Neg, exp.Null, exp.Boolean, exp.Placeholder), {"this"}),
    exp.Between: {"this", "low", "high", "negate"},
    exp.In: {"this", "expressions", "field", "query", "unnest", "negate"},
    exp.Column: {"this", "table", "db", "catalog"},
    exp.Identifier: {"this", "quoted"},
    exp.Literal: {"this", "is_string"},
}
# A name in double quotes may be a text (brand = "Acme"), so the tree must still tell it from a bare word.
_QUOTED, _BARE = '"', "."


def refuse(message: str, hint: str = HINT) -> NoReturn:
    """Raises the :class:`FilterError`."""
    raise FilterError(f"the filter cannot be used: {message}", hint=hint)


def parse(where: str) -> Tree:
    """The tree of a condition. Raises :class:`FilterError`. About 1 ms for ten comparisons."""
    if not isinstance(where, str) or not where.strip():
        refuse("it is empty")
    if len(where) > MAX_CHARS:
        refuse(f"it has {len(where):,} characters, and {MAX_CHARS:,} are the most", "put long lists into a :name")
    try:
        tokens = Tokenizer().tokenize(where)
        trees = Parser().parse_into(exp.Condition, _checked(tokens), where)
    except ParseError as error:
        found = error.errors[0] if error.errors else {}
        near = str(found.get("highlight") or "").strip() or "the end"
        refuse(f"it does not read as a condition near {near[:60]!r}")
    except (SqlglotError, RecursionError) as error:
        refuse("a quote is not closed" if isinstance(error, TokenError) else "it is nested too deeply")
    tree = trees[0] if len(trees) == 1 else None
    if tree is None:
        refuse("it does not read as one condition")
    for node in tree.walk():
        more = [arg for arg, value in node.args.items() if value and arg not in _ARGS.get(type(node), node.args)]
        if more:
            refuse(f"{type(node).__name__.lower()!r} is not used with {more[0]!r} in it")
    return tree


def _checked(tokens: list[Token]) -> list[Token]:
    out: list[Token] = []
    operators = dots = depth = 0
    inside = [0]  # the depth inside each parenthesis that is open
    for at, token in enumerate(tokens):
        if token.comments:
            refuse(f"there is a comment in it: {token.comments[0].strip()[:40]!r}")
        before = out[-1].token_type if out else None
        following = tokens[at + 1].token_type if at + 1 < len(tokens) else None
        kind = _kind(token, before, following)
        if kind is TokenType.L_PAREN:
            inside.append(depth + 1)
        elif kind is TokenType.R_PAREN and len(inside) > 1:
            inside.pop()
        depth = depth + 1 if kind in (TokenType.NOT, TokenType.DASH) else inside[-1]
        operators += kind in _COUNTED
        dots = dots + 1 if kind is TokenType.DOT else 0 if before is not TokenType.DOT else dots
        if depth > MAX_NESTING or operators > MAX_OPERATORS or dots >= MAX_DEPTH:
            refuse(
                f"it is too large: {MAX_OPERATORS} operators, {MAX_NESTING} levels of parentheses or not, and {MAX_DEPTH} parts"
                " of a name are the most",
                "put long lists into a :name, as in  id in :ids",
            )
        text = token.text
        if kind is TokenType.IDENTIFIER:
            text = (_QUOTED if token.token_type is TokenType.IDENTIFIER else _BARE) + text
        out.append(Token(kind, text, token.line, token.col, token.start, token.end))
    return out


def _kind(token: Token, before: TokenType | None, following: TokenType | None) -> TokenType:
    """What a token counts as here. Raises :class:`FilterError` for what no filter may hold."""
    kind, text = token.token_type, token.text
    if kind in _PLAIN or kind is TokenType.IDENTIFIER:
        return kind
    if not _WORD.fullmatch(text):
        refuse(f"{text[:40]!r} has no meaning in it")
    if before is TokenType.COLON:
        return TokenType.VAR
    if before is not TokenType.DOT and text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if text.lower() == "select" and following not in _COMPARISONS:
        refuse("there is a subquery in it")
    if following is TokenType.L_PAREN:
        refuse(f"{text[:40]}(…) is a function call")
    return TokenType.IDENTIFIER


class Name(NamedTuple):
    """A field: the parts between its dots. ``quoted``: it may as well be a text in double quotes."""

    parts: tuple[str, ...]
    quoted: bool

    def __str__(self) -> str:
        return ".".join(self.parts)


def name_of(node: Tree) -> Name | None:
    """The field that a node names, or ``None``."""
    idents: list[exp.Expr] = []
    while isinstance(node, exp.Dot):
        idents.append(node.expression)
        node = node.this
    if not isinstance(node, exp.Column):
        return None
    idents = [*node.parts, *reversed(idents)]
    if not all(isinstance(ident, exp.Identifier) for ident in idents):
        return None
    parts = tuple(ident.name[1:] for ident in idents)
    return Name(parts, quoted=len(parts) == 1 and idents[0].name[0] == _QUOTED)


class Value(NamedTuple):
    """What a field is compared with. ``kind`` is ``number``, ``text`` or ``bool``; ``spelt`` is how it was written."""

    kind: str
    value: Any
    spelt: str


def value_of(given: Any, spelt: str | None = None) -> Value:
    """A literal or a parameter as a :class:`Value`. Raises :class:`FilterError` for null and what is no scalar."""
    if hasattr(given, "item") and not isinstance(given, str):
        given = given.item()  # numpy
    if isinstance(given, dt.date):
        given = given.isoformat()
    spelt = str(given) if spelt is None else spelt
    if isinstance(given, bool):
        return Value("bool", given, spelt)
    if isinstance(given, int):
        return Value("number", given if abs(given) < 2**63 else float(given), spelt)
    if isinstance(given, float) and given == given:
        return Value("number", given, spelt)
    if isinstance(given, str):
        return Value("text", str(given), spelt)
    if given is None:
        refuse("null equals nothing", "write  field is null  or  field is not null")
    return refuse(f"a {type(given).__name__} cannot be compared with a field: {spelt[:40]}")


def number(spelt: str, negative: bool) -> Value:
    """A number as it was written. Raises :class:`FilterError`."""
    spelt = "-" + spelt if negative else spelt
    try:
        return value_of(int(spelt), spelt)
    except ValueError:
        pass
    try:
        return value_of(float(spelt), spelt)
    except ValueError:
        return refuse(f"{spelt[:40]!r} is no number")
