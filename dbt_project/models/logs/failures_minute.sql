with failing as (
  select
    minute,
    service,
    coalesce(route, '(none)') as route,
    case source_table
      when 'access' then coalesce(route, '(none)') || ' ' || status
      else coalesce({{ template_of('message') }}, '(none)')
    end as message,
    count(*) as errors,
    min(document) as example
  from {{ ref('stg_logs') }}
  where is_error
  group by all
),
ranked as (
  {{ placed('failing', 'minute', 'errors', ['route', 'message']) }}
)
select
  minute,
  service,
  {{ kept('route', 'minute') }} as route,
  {{ kept('message', 'minute') }} as message,
  sum(errors) as errors,
  min(example) as example
from ranked
group by all
