select
  date_trunc('hour', minute) as hour,
  service,
  status,
  sum(events) as events,
  sum(errors) as errors
from {{ ref('errors_minute') }}
where date_trunc('hour', minute) in {{ requested('hour') }}
group by all
