{# A text with what varies cut out, colours too, so that like messages count together. At most 300 characters of its first line. #}
{% macro template_of(text) -%}
  left(regexp_replace(regexp_replace(regexp_replace(
    left(regexp_replace(split_part({{ text }}, chr(10), 1), '{{ ansi_pattern() }}', '', 'g'), 1000),
    '{{ uuid_pattern() }}', '<uuid>', 'g'),
    '\b(?:0x[0-9a-fA-F]+|[0-9a-fA-F]{16,})\b', '<hex>', 'g'),
    '[0-9]+(?:[.,:][0-9]+)*', '<n>', 'g'), 300)
{%- endmacro %}

{# An escape sequence of a terminal; `platform_assets/core/ansi.py` has the same. #}
{% macro ansi_pattern() -%}
  (?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b[PX\]^_]|[\x90\x98\x9d-\x9f])[^\x00-\x1f\x7f-\x9f]*(?:\x07|\x1b\\|\x9c)|\x1b(?:[ -/][!-/]{0,2}[0-~]|[0-OQ-WYZ`-~])
{%- endmacro %}

{% macro uuid_pattern() -%}
  [0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}
{%- endmacro %}
