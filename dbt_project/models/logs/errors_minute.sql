select
  minute,
  service,
  coalesce(status, 0) as status,
  count(*) as events,
  count(*) filter (where is_error) as errors
from {{ ref('stg_logs') }}
group by all
