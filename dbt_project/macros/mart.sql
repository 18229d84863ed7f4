{#
  The rows of the slots to replace are built into `<model>__new`, in rounds that each put in sight what their slots may read
  (`steps`, prepared for the run); `<model>` is a view that shows them instead of what the lake holds of those slots, so that
  `ref()` sees the table as it will be. Publishing is not dbt's matter.
#}
{% materialization mart, adapter='duckdb' %}
  {%- set grain = model.config.meta['grain'] -%}
  {%- set columns = model.columns.values() | list -%}
  {%- set target = this.incorporate(type='view') -%}
  {%- set fresh = this.incorporate(path={'identifier': this.identifier ~ '__new'}, type='table') -%}
  {%- set steps = "where mart = '" ~ this.identifier ~ "'" -%}

  {{ run_hooks(pre_hooks) }}
  {% call statement('main') -%}
    create table {{ fresh }} (
      {%- for column in columns %}"{{ column.name }}" {{ column.data_type }}{% if not loop.last %}, {% endif %}{% endfor -%}
    )
  {%- endcall %}
  {%- for round in run_query('select sql, whole from steps.rounds ' ~ steps ~ ' order by n') %}
    {%- do run_query(round[0]) %}
    {%- if loop.first %}
      {%- set found = run_query('select * from (' ~ sql ~ ') as built limit 0').column_names | list -%}
      {%- set promised = columns | map(attribute='name') | list -%}
      {%- if found | sort != promised | sort -%}
        {{ exceptions.raise_compiler_error(
          model.name ~ ' gives the columns ' ~ found | join(', ') ~ ', its properties file says ' ~ promised | join(', ')) }}
      {%- endif -%}
    {%- endif %}
    {% call statement('round') -%}
      insert into {{ fresh }}
      select * from (
        select {% for column in columns %}cast("{{ column.name }}" as {{ column.data_type }}) as "{{ column.name }}"
          {%- if not loop.last %}, {% endif %}{% endfor %}
        from ({{ sql }}) as built
      )
      {% if not round[1] -%}
      where "{{ grain }}" in (select slot from request."{{ grain }}") or {{ off_slot(grain) }}
      {%- endif %}
    {%- endcall %}
  {%- endfor %}
  {%- set off = run_query('select count(*) from ' ~ fresh ~ ' where ' ~ off_slot(grain)).columns[0].values()[0] -%}
  {%- if off -%}
    {{ exceptions.raise_compiler_error(
      model.name ~ ' gives ' ~ off ~ ' rows whose ' ~ grain ~ ' is null or not the beginning of a ' ~ grain) }}
  {%- endif -%}
  {%- do run_query(run_query('select sql from steps.after ' ~ steps).columns[0].values()[0]) %}
  {% call statement('view') -%}
    create or replace view {{ target }} as
    select * from lake."{{ this.identifier }}"
    where "{{ grain }}" not in (select slot from asked."{{ this.identifier }}")
    union all
    select * from {{ fresh }}
  {%- endcall %}
  {{ run_hooks(post_hooks) }}
  {{ adapter.commit() }}
  {{ return({'relations': [target]}) }}
{% endmaterialization %}


{# Whether a row's slot column is not the beginning of a slot. #}
{% macro off_slot(grain) -%}
  ("{{ grain }}" is null or "{{ grain }}" <> date_trunc('{{ grain }}', "{{ grain }}"))
{%- endmacro %}


{# The model's own published rows of days that retention has closed, within its reach: they never change again. #}
{% macro closed() -%}
  closed."{{ this.identifier }}"
{%- endmacro %}


{#
  The slots that are being built: a SELECT, for `in (...)`. `grain` is minute, hour or day; of another grain than the model's own it is
  the slots that hold one of them, or lie in one. In a test it is what this run has touched.
#}
{% macro requested(grain) -%}
  (select slot from request."{{ grain }}")
{%- endmacro %}
