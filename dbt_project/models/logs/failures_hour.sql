select
  date_trunc('hour', minute) as hour,
  service,
  route,
  message,
  sum(errors) as errors,
  min(example) as example
from {{ ref('failures_minute') }}
where date_trunc('hour', minute) in {{ requested('hour') }}
group by all
