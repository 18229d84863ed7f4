{% test few_groups(model, grain) %}
{# The groups that keep their names, and `other`. #}
select {{ grain }}, service, count(*) as rows
from {{ model }}
group by {{ grain }}, service
having count(*) > {{ var('groups_kept')[grain] }} + 1
{% endtest %}
