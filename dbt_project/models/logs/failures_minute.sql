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
  select *, row_number() over (partition by minute, service order by errors desc, route, message) as place
  from failing
)
select
  minute,
  service,
  case when place <= 50 then route else 'other' end as route,
  case when place <= 50 then message else 'other' end as message,
  sum(errors) as errors,
  min(example) as example
from ranked
group by all
