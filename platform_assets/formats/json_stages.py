"""The SQL stages of JSON messages, from the decoded body to one text and one JSON type per contract field, and the attributes.

Belongs here: those stages, and what is wrong with a message as a whole. Does not belong here: checks of single fields.

Attributes are the members that the contract does not name, plus the members of the message's own object of that name; the
same name in both is a `duplicate_field`. An own member of that name that is no object is kept as a member like any other.
DuckDB reads JSON generously (NaN, trailing commas); both are refused here.
"""

from __future__ import annotations

import json

from platform_assets.contracts.formats import Stage
from platform_assets.contracts.model import FieldType, Mask, Table
from platform_assets.transform.decimals import exact_texts
from platform_assets.transform.members import has_name_twice
from platform_assets.transform.reasons import Reason
from platform_assets.transform.scrub import scrub_json
from platform_assets.transform.sql import (
    first_true,
    is_blank,
    literal,
    matches,
    occurs_outside_strings,
    one_of,
    replace_all,
    select,
    text_list,
    without_strings,
)

_SPACE = r" \t\r\n"
_TRAILING_COMMA = rf",[{_SPACE}]*[}}\]]"
_NESTED = "contains({0}, '[') OR {0} LIKE '%{{%{{%'"
_NOT_FINITE = r"(?i)[:\[,]-?(?:nan|inf)"
_LEAST_MEMBER_BYTES = 5  # "":1,


def stages(table: Table) -> list[Stage]:
    """From the relation `screened` to `decoded`, as `RecordFormat.stages` says."""
    fields = table.sent
    members = [field.source or field.name for field in fields] + ([table.attributes] if table.attributes else [])
    pointers = text_list(map(_pointer, members))
    types = f"json_type(_document, [{pointers}]) AS _types"
    strings = f"json_extract_string(_document, [{pointers}]) AS _texts"
    texts = [f"_types[{len(members)}] AS _own_type"] if table.attributes else []
    decimals = [i for i, field in enumerate(fields, 1) if field.type is FieldType.DECIMAL]
    for i, field in enumerate(fields, 1):
        text = f"_texts[{i}]"
        if i in decimals:
            text = f"CASE WHEN _types[{i}] = 'DOUBLE' THEN coalesce(_exact[{decimals.index(i) + 1}], {text}) ELSE {text} END"
        if field.null_values:
            # A number or a nested value whose text happens to be the same is no absent value.
            text = f"CASE WHEN _types[{i}] <> 'VARCHAR' OR NOT {one_of(text, field.null_values)} THEN {text} END"
        texts.append(f"{text} AS _x{i}, _types[{i}] AS _t{i}")
    own = text_list(_pointer(members[i - 1]) for i in decimals)
    exact_column = f", {exact_texts('_document', own)} AS _exact" if decimals else ""
    valid = f"CASE WHEN _fault IS NULL THEN json_valid(_body) AND NOT {_trailing_comma()} END"
    document = f"CASE WHEN {valid} THEN _body END AS _json"
    return [
        ("parsed", select(f"*, {document}", "screened")),
        ("named", select("*, json_keys(_json) AS _names", "parsed")),
        ("shaped", select(f"*, {_structure(table)} AS _structure", "named")),
        ("sound", select("*, CASE WHEN _structure IS NULL THEN _json END AS _document", "shaped")),
        ("extracted", select(f"*, {types}, {strings}{exact_column}", "sound")),
        ("unpacked", select(f"*, {', '.join(texts)}, len(_names) > list_count(_types) AS _more", "extracted")),
        *_attribute_stages(table, members),
    ]


def _pointer(member: str) -> str:
    return "/" + member.replace("~", "~0").replace("/", "~1")


def _structure(table: Table) -> str:
    """The reason for which the message as a whole is refused, or NULL."""
    no_surrogates = replace_all(replace_all("_body", r"\\\\", ""), r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}", "")
    malformed = first_true(
        [
            (is_blank("_body"), literal(Reason.EMPTY)),
            (f"NOT json_valid(_body) AND json_valid({no_surrogates})", literal(Reason.LONE_SURROGATE)),
            ("true", literal(Reason.MALFORMED_JSON)),
        ]
    )
    return first_true(
        [
            ("_fault IS NOT NULL", "_fault"),
            ("_json IS NULL", malformed),
            (_too_deep(table.max_depth), literal(Reason.TOO_DEEP)),
            (_too_many_members(table.max_fields), literal(Reason.TOO_MANY_FIELDS)),
            ("CASE WHEN len(_names) = 0 THEN json_type(_json) <> 'OBJECT' END", literal(Reason.NOT_AN_OBJECT)),
            (_escaped_nul(), literal(Reason.NUL_BYTE)),
        ]
    )


def _trailing_comma() -> str:
    """A comma before a closing bracket; most flat objects end in a string and need no closer look."""
    plain = f"""ends_with(_body, '"}}') AND NOT ({_NESTED.format("_body")})"""
    return f"CASE WHEN {plain} THEN false ELSE {occurs_outside_strings('_body', _TRAILING_COMMA)} END"


def _too_many_members(limit: int) -> str:
    colons = f"strlen({replace_all(without_strings('_json'), '[^:]', '')})"
    return f"CASE WHEN _bytes > {_LEAST_MEMBER_BYTES * limit} THEN {colons} > {limit} ELSE false END"


def _too_deep(limit: int) -> str:
    """Counts opening brackets, which bound the depth; only where they exceed the limit, peels level by level."""
    nested = _NESTED.format("_json")
    openers = "strlen(_json) - strlen(replace(replace(_json, '{', ''), '[', ''))"
    brackets = replace_all(without_strings("_json"), r"[^\[\]{}]", "")
    peeled = f"translate({brackets}, '[]{{}}', '()()')"
    for _ in range(limit):
        peeled = f"replace({peeled}, '()', '')"
    exact = f"CASE WHEN {openers} > {limit} THEN {peeled} <> '' ELSE false END"
    return f"CASE WHEN {nested} THEN {exact} ELSE false END"


def _escaped_nul() -> str:
    exact = matches("_json", r"(?:^|[^\\])(?:\\\\)*\\u0000")
    return rf"CASE WHEN contains(_json, '\u0000') THEN {exact} ELSE false END"


def _attribute_stages(table: Table, members: list[str]) -> list[tuple[str, str]]:
    # What is not unknown must be as many members as were found by name, or one of them occurs twice.
    unknown = f"CASE WHEN _more THEN list_filter(_names, lambda name: NOT {one_of('name', members)}) END AS _unknown"
    twice = "CASE WHEN len(_unknown) > 1 THEN len(list_distinct(_unknown)) < len(_unknown) ELSE false END"
    doubled = f"CASE WHEN _more THEN len(_names) - len(_unknown) > list_count(_types) OR {twice} ELSE false END"
    counted = [
        ("compared", select(f"*, {unknown}", "unpacked")),
        ("counted", select(f"*, {doubled} AS _doubled", "compared")),
    ]
    if table.attributes is None:
        fault = first_true([("_doubled", literal(Reason.DUPLICATE_FIELD)), ("_more", literal(Reason.UNKNOWN_FIELD))])
        return [
            *counted,
            ("decoded", select(f"*, {fault} AS _attributes_fault", "counted")),
        ]
    pointer = literal("/" + table.attributes)
    own = f"CASE WHEN _own_type = 'OBJECT' THEN CAST(json_extract(_document, {pointer}) AS VARCHAR) END AS _own"
    rest = f"CAST({_rest(members)} AS VARCHAR) AS _rest"
    merged = first_true(
        [
            ("_own IS NULL OR _own = '{}'", "_rest"),
            ("_rest IS NULL", "_own"),
            ("true", "left(_own, length(_own) - 1) || ',' || substring(_rest, 2)"),
        ]
    )
    scrubbed = scrub_json("_members", addresses=table.attributes_mask is Mask.SCRUB_ADDRESSES)
    clean = f"CASE WHEN strlen(_members) <= {table.attributes_max_bytes} THEN {scrubbed} END"
    # Names of one flat object have been counted above; members of the own object, nested ones and scrubbed ones have not.
    several = "_own IS NOT NULL OR _attributes <> _members OR _attributes LIKE '%{%{%'"
    fault = first_true(
        [
            ("_doubled", literal(Reason.DUPLICATE_FIELD)),
            ("_members IS NULL", "NULL"),
            (f"strlen(_members) > {table.attributes_max_bytes}", literal(Reason.ATTRIBUTES_TOO_LARGE)),
            (occurs_outside_strings("_members", _NOT_FINITE), literal(Reason.NON_FINITE)),
            ("CASE WHEN _attributes <> _members THEN NOT json_valid(_attributes) ELSE false END",
             literal(Reason.UNDECODABLE)),
            (f"CASE WHEN {several} THEN {has_name_twice('_attributes')} ELSE false END", literal(Reason.DUPLICATE_FIELD)),
        ]
    )  # fmt: skip
    return [
        *counted,
        ("left_over", select(f"*, {own}, {rest}", "counted")),
        ("merged", select(f"*, {merged} AS _members", "left_over")),
        ("scrubbed", select(f"*, {clean} AS _attributes", "merged")),
        ("decoded", select(f"*, {fault} AS _attributes_fault", "scrubbed")),
    ]


def _rest(members: list[str]) -> str:
    """An object of the members that have no column, NULL where there is none. The last of `members` is the attributes' own."""
    named, named_and_own = (literal(json.dumps(dict.fromkeys(known))) for known in (members[:-1], members))
    pointer = "'/' || replace(replace(_unknown[1], '~', '~0'), '/', '~1')"
    return first_true(
        [
            ("_doubled", "NULL"),
            # A merge patch of nulls removes the members that it names.
            ("_own_type NOT IN ('OBJECT', 'NULL')", f"json_merge_patch(_document, {named})"),
            # By far the most frequent case, and several times faster so.
            ("len(_unknown) = 1", f"json_object(_unknown[1], json_extract(_document, {pointer}))"),
            ("_more", f"json_merge_patch(_document, {named_and_own})"),
        ]
    )
