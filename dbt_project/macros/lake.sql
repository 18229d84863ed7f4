{#
  The rows of the requested slots are built into `<model>__new`; `<model>` is a view that shows them instead of what the lake
  holds of those slots, so that `ref()` sees the table as it will be. Publishing is not dbt's matter.
#}
{% materialization lake, adapter='duckdb' %}
  {%- set grain = model.config.meta['grain'] -%}
  {%- set columns = model.columns.values() | list -%}
  {%- set target = this.incorporate(type='view') -%}
  {%- set fresh = this.incorporate(path={'identifier': this.identifier ~ '__new'}, type='table') -%}

  {{ run_hooks(pre_hooks) }}
  {%- set found = run_query('select * from (' ~ sql ~ ') as built limit 0').column_names | list -%}
  {%- set promised = columns | map(attribute='name') | list -%}
  {%- if found | sort != promised | sort -%}
    {{ exceptions.raise_compiler_error(
      model.name ~ ' gives the columns ' ~ found | join(', ') ~ ', its properties file says ' ~ promised | join(', ')) }}
  {%- endif -%}
  {% call statement('main') -%}
    create table {{ fresh }} as
    select {% for column in columns %}cast("{{ column.name }}" as {{ column.data_type }}) as "{{ column.name }}"
      {%- if not loop.last %}, {% endif %}{% endfor %}
    from ({{ sql }}) as built
    where "{{ grain }}" in (select slot from request."{{ grain }}")
  {%- endcall %}
  {% call statement('view') -%}
    create or replace view {{ target }} as
    select * from lake."{{ this.identifier }}"
    where "{{ grain }}" not in (select slot from request."{{ grain }}")
    union all
    select * from {{ fresh }}
  {%- endcall %}
  {{ run_hooks(post_hooks) }}
  {{ adapter.commit() }}
  {{ return({'relations': [target]}) }}
{% endmaterialization %}


{# The rows of the model's own table as they were before this run, within its reach. #}
{% macro published() -%}
  lake."{{ this.identifier }}"
{%- endmacro %}


{# The slots that this run builds: a SELECT, for `in (...)`. `grain` is minute, hour or day. #}
{% macro requested(grain) -%}
  (select slot from request."{{ grain }}")
{%- endmacro %}
