with failing as (
  select date_trunc('hour', minute) as hour, service, route, message, sum(errors) as errors, min(example) as example
  from {{ ref('failures_minute') }}
  where date_trunc('hour', minute) in {{ requested('hour') }}
  group by all
),
ranked as (
  {{ placed('failing', 'hour', 'errors', ['route', 'message']) }}
)
select
  hour,
  service,
  {{ kept('route', 'hour') }} as route,
  {{ kept('message', 'hour') }} as message,
  sum(errors) as errors,
  min(example) as example
from ranked
group by all
