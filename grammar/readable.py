"""The grammar as a person reads it: the rules of the statements without what only the parser needs.

Words in capitals are keywords. `[x]` may be left out, `x*` may be repeated or left out, `x+` stands once or more often.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources

_NAMES = re.compile(r"\b[a-z_]+\b")


def statement_rules(words: str) -> list[str]:
    """The rules of the statements that begin with these words, each with the rules that it names; all for no words."""
    rules = {lines[0].partition(":")[0]: lines for lines in _each_rule()}
    wanted = words.upper().split()
    shown: dict[str, None] = {}
    for name in _statement_names(rules, "statement"):
        if any(_begins(line, wanted) for line in rules[name]):
            shown[name] = None
            named = (part for line in rules[name] for part in _NAMES.findall(line) if part in rules)
            shown |= dict.fromkeys(named if wanted else ())
    return [line for name in shown for line in rules[name]]


def _each_rule() -> Iterator[list[str]]:
    rule: list[str] = []
    for _, lines in readable_rules():
        for line in lines:
            if not line.startswith(" ") and rule:
                yield rule
                rule = []
            rule.append(line)
    yield rule


def _statement_names(rules: dict[str, list[str]], name: str) -> Iterator[str]:
    """The rules below this one that begin with a keyword."""
    bodies = [_body(line) for line in rules[name]]
    if all(body in rules for body in bodies):
        for body in bodies:
            yield from _statement_names(rules, body)
    else:
        yield name


def _body(line: str) -> str:
    return re.sub(r"^(?:[a-z_]+: | *\| )", "", line)


def _begins(line: str, words: list[str]) -> bool:
    """Whether the keywords of the line, in their order and from the first one on, hold the words."""
    found = re.findall(r"\b[A-Z_]+\b", _body(line))
    if not words:
        return True
    if not found or found[0] != words[0]:
        return False
    rest = iter(found)
    return all(word in rest for word in words)


def readable_rules() -> Iterator[tuple[str, list[str]]]:
    """Headings, and the rules below each, from the statements' grammar."""
    text = resources.files("reddb.grammar").joinpath("statements.lark").read_text("utf-8")
    text = _inlined(text[: text.index("!name:")])  # the names of keywords follow
    heading, rules, shift = "", list[str](), 0
    for line in text.splitlines():
        if found := re.match(r"// --- (.+?) -+$", line):
            yield heading, rules
            heading, rules = found[1], []
        elif line.strip() and not line.startswith("//") and "IN_WRITTEN" not in line:
            if not line.startswith(" "):
                shift = int(line[0] in "?_")  # a sign that goes, under which the alternatives stand
            rules.append(_readable(line[shift:]))
    yield heading, rules


def _inlined(text: str) -> str:
    """The grammar with rules of one line that lark leaves out of its trees put where they are used."""
    bodies = dict(re.findall(r"^(_[a-z_]+): (.+)\n(?! )", text, re.MULTILINE))
    for name in bodies:
        text = re.sub(rf"^{name}: .+\n", "", text, flags=re.MULTILINE)
    while used := re.search(rf"(?<!\w)(?:{'|'.join(bodies)})(?!\w)", text):
        text = text[: used.start()] + bodies[used[0]] + text[used.end() :]
    return text


def _readable(line: str) -> str:
    """A line of the grammar without what only the parser needs: names of nodes, and a token for many rows at once."""
    line = re.sub(r" -> \w+", "", line).replace("(VALUES_WRITTEN | _VALUES row)", "VALUES row")
    return re.sub(r"(?<![\w\"])_(?=\w)", "", line)
