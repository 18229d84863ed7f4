{# Neither infinite nor NaN: the index refuses such a row, and never catches up. Nulls pass. #}
{% test finite(model, column_name) %}
select {{ column_name }}
from {{ model }}
where not isfinite({{ column_name }})
{% endtest %}
