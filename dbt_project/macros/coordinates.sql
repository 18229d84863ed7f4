{# Made from core/coordinates.py; `assay docs` writes it anew. #}

{# The id of a silver row's document in the search index. #}
{% macro document_id() -%}
  concat(left(_source, 8), '.', _shard, '.', _position)
{%- endmacro %}
