{#
  Routes: paths with what names a single thing as `:id`, so that like requests count together.

  A path is evaluated segment by segment, without its query and without `;parameters`. A segment is `:id` as a whole when it is percent-
  encoded, holds what scrubbing left of an e-mail, card or network address, or is a token (base64url and the like). Otherwise its parts, cut
  at whatever is no letter and no digit, are evaluated: numbers, dates, UUIDs, ULIDs, 8 hexadecimal digits or more, letters mixed with
  digits at random, and four digits or more within a word are `:id`. In the name of an asset (`app.3f9a1c.js`) six characters are enough.
  What reads like words stays: `users`, `facade`, `v2`, `oauth2`, `getUserById`. `deadbeef` is an `:id`: eight letters from a to f are no
  word of a path.
#}

{# A path as a route. At most 256 characters. #}
{% macro route_of(path) -%}
  case when regexp_full_match({{ path }}, '(?:/[a-z_.-]{0,7})*') then left({{ path }}, 256)
  else left(array_to_string([
    {{ segment_of('segment') }}
    for segment in string_split(regexp_replace(left(regexp_extract({{ path }}, '^[^?#]*'), 2000), ';[^/]*', '', 'g'), '/')
  ], '/'), 256) end
{%- endmacro %}

{% macro segment_of(segment) -%}
  case
    when regexp_full_match({{ segment }}, '[a-z_.-]{0,7}') then {{ segment }}
    when regexp_matches({{ segment }}, '%[0-9A-Fa-f]{2}|.@.|\[(?:email|card|ip)\]') then ':id'
    when length({{ segment }}) >= 10 and regexp_full_match({{ segment }}, '[A-Za-z0-9_-]+={0,2}') and {{ is_token(segment) }}
      then ':id'
    else regexp_replace(array_to_string([
      {{ part_of('part', segment) }}
      for part in regexp_extract_all(
        {{ without_wholes(segment) }}, ':id|[A-Za-z0-9]+|[^A-Za-z0-9:]+|:')
    ], ''), ':id(?:[.,:_~+-]*:id)+', ':id', 'g')
  end
{%- endmacro %}

{# A segment without what has separators of its own: UUIDs, times, and the hash of an asset. #}
{% macro without_wholes(segment) -%}
  regexp_replace(regexp_replace(
    case when {{ is_token("regexp_extract(" ~ segment ~ ", '[.-]([A-Za-z0-9_-]{8})(?:\\.min)?\\.[a-z0-9]{2,5}$', 1)") }}
      and {{ is_asset(segment) }}
      then regexp_replace({{ segment }}, '([.-])[A-Za-z0-9_-]{8}((?:\.min)?\.[a-z0-9]{2,5})$', '\1:id\2') else {{ segment }} end,
    '{{ uuid_pattern() }}', ':id', 'g'),
    '[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T_ ][0-9]{2}[:.-]?[0-9]{2}(?:[:.-]?[0-9]{2}(?:[.,][0-9]+)?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?',
    ':id', 'g')
{%- endmacro %}

{# A part of letters and digits, or what stands between two. #}
{% macro part_of(part, segment) -%}
  case
    when regexp_full_match({{ part }}, '[0-9]+|[0-9A-Fa-f]{8,}|[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}') then ':id'
    when length({{ part }}) >= 8 and ({{ is_token(part) }} or {{ is_shuffled(part) }}) then ':id'
    when length({{ part }}) >= 6 and {{ is_asset(segment) }} and (
        {{ is_token(part) }} or {{ is_shuffled(part) }}
        or (regexp_full_match({{ part }}, '[0-9a-f]+') and regexp_matches({{ part }}, '[0-9]'))) then ':id'
    else regexp_replace({{ part }}, '[0-9]{4,}', ':id', 'g')
  end
{%- endmacro %}

{# Whether a text of letters, digits, `-` and `_` is no words: capitals, small letters and digits (or 16 characters) mixed at random. #}
{% macro is_token(text) -%}
  (regexp_matches({{ text }}, '[A-Z]') and regexp_matches({{ text }}, '[a-z]')
    and (regexp_matches({{ text }}, '[0-9]') or length({{ text }}) >= 16)
    and not regexp_full_match({{ text }}, '(?:[A-Za-z][a-z]*)?(?:[A-Z][a-z]{2,}|[A-Z]{2,6}|By|Id|Of|To|In|On|My|Is|At|As|Or|Up|Me|No|Go|Do|[0-9]{1,4}(?:[a-z]{3,})?|[_-]+(?:[A-Za-z][a-z]*|[0-9]*))*=*'))
{%- endmacro %}

{# Whether letters and digits change places so often that it is no word: three runs of digits. #}
{% macro is_shuffled(text) -%}
  regexp_full_match({{ text }}, '[A-Za-z]*(?:[0-9]+[A-Za-z]+){2,}[0-9]+[A-Za-z]*')
{%- endmacro %}

{% macro is_asset(segment) -%}
  regexp_matches({{ segment }},
    '\.(?:m?js|cjs|css|map|json|wasm|woff2?|ttf|otf|eot|png|jpe?g|gif|svg|webp|avif|ico|mp[34]|webm|pdf|html?)$')
{%- endmacro %}

{#
  SELECT of a relation's columns with a place among its slot and service: by `amount`, the greatest first, then by name. What is
  `other` already has places of its own. `names` are the columns that name a group.
#}
{% macro placed(relation, slot, amount, names) -%}
  select *, row_number() over (
    partition by {{ slot }}, service, {{ names[0] }} = 'other'
    order by {{ amount }} desc, {{ names | join(', ') }}
  ) as place
  from {{ relation }}
{%- endmacro %}

{# The column's value for the groups that keep their names. #}
{% macro kept(column, grain) -%}
  case when place <= {{ var('groups_kept')[grain] }} then {{ column }} else 'other' end
{%- endmacro %}
