{% test at_most(model, column_name, column) %}
select {{ column_name }}, {{ column }}
from {{ model }}
where {{ column_name }} > {{ column }}
{% endtest %}
