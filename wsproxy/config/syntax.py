"""
What an XML parser's complaint means to whoever edits plugin-cfg.xml, and where start tags stand.

Driven by ``config.xml``. Must not parse: the parser has spoken before. Its error numbers are libxml2's ``xmlParserErrors``,
which are part of its interface and do not change.
"""

from __future__ import annotations

import re

from wsproxy.config.problems import ProblemList, printable, quoted

# number -> what to write instead; the parser's own words say what was found
_ADVICE = {
    4: "a file that begins with <?xml ...?> or <Config>",
    5: "one root element, <Config>, with everything inside it",
    9: "printable text (a control character or damaged encoding stands there)",
    23: "&amp; where an & is meant",
    26: "&amp;, &lt;, &gt;, &quot; and &apos;; no other entities",
    32: "encoding UTF-8 or ISO-8859-1 in the first line",
    38: "no < inside an attribute's value; a closing quote is probably missing before it",
    39: "every attribute's value in quotes",
    40: "a closing quote after every attribute's value",
    41: 'attributes as Name="value"',
    42: "each attribute once in an element",
    45: "--> after every comment",
    46: "<?xml without a space after <?",
    47: "?> after every <?",
    64: "<?xml ...?> only as the very first characters of the file",
    65: "a space between two attributes; a quote may be missing",
    68: "an element's name after <; &lt; where a < is meant",
    73: "> or /> at the end of every tag",
    76: "closing tags in the order in which the elements were opened",
    77: "a closing tag for every element",
    80: "comments without -- inside them",
    81: "the encoding that the first line names (UTF-8 where it names none)",
    201: "element and attribute names without prefixes",
}
# what is said when the end comes too early; other complaints at the end are about something before it
_END_NUMBERS = {4, 39, 40, 41, 45, 47, 63, 65, 68, 73, 77}
_DEFAULT_ADVICE = "well-formed XML"
_LIMIT_NUMBERS = {114, 89}  # resource limits: too deep, too long a text, entities that multiply

_SKIPPED_OR_TAG = re.compile(
    rb"<(?:!--(?>.*?-->)|\?(?>.*?\?>)|!\[CDATA\[(?>.*?\]\]>)|([A-Za-z_:\x80-\xff][^\s/>]*+))",
    re.DOTALL,
)


def explain_syntax_error(
    problems: ProblemList, number: int, message: str, line: int, data: bytes, *, is_truncated: bool
) -> None:
    """
    Reports why ``data`` is not XML, and that it is only a part of a file where it does not begin with Config.

    ``is_truncated``: what is there is right, but it ends too early.
    """
    message = printable(" ".join(message.split()))
    if is_truncated and number in _END_NUMBERS:
        problems.error(
            "xml-truncated",
            line,
            f"the end of the file too early ({message})",
            "a whole file that ends with </Config>",
        )
    elif number in _LIMIT_NUMBERS:
        problems.error("xml-limit", line, message, "a file without such nesting or such long texts")
    else:
        problems.error(
            "xml-malformed", line, f"broken XML: {message}", _ADVICE.get(number, _DEFAULT_ADVICE)
        )
    first = first_start_tag(data)
    if first and first[0] != "Config":
        problems.error("root-not-config", first[1], *root_words(first[0]))


def root_words(tag: str) -> tuple[str, str]:
    """What was found and what is allowed where the first element is not Config."""
    return (
        f"{quoted(tag)} as the first element: this is a part of a plugin-cfg.xml, or another file",
        "a whole file with the root element <Config>",
    )


def first_start_tag(data: bytes) -> tuple[str, int] | None:
    """Name and line of the first element; None where no tag can be seen (or the encoding is not like ASCII)."""
    for match in _SKIPPED_OR_TAG.finditer(data):
        if match[1]:
            return match[1].decode(errors="replace"), data.count(b"\n", 0, match.start()) + 1
    return None


def start_tag_lines(data: bytes) -> list[int]:
    """
    The line on which each start tag begins, in file order, for well-formed ``data`` in an encoding like ASCII.

    libxml2 knows only the line on which a tag ends, and guesses beyond line 65535; generated files break long tags over
    many lines. In well-formed XML a < stands nowhere but in markup, so that this scan finds what the parser found.
    """
    lines: list[int] = []
    line, position = 1, 0
    for match in _SKIPPED_OR_TAG.finditer(data):
        if match.start(1) > 0:
            start = match.start()
            line += data.count(b"\n", position, start)
            position = start
            lines.append(line)
    return lines
