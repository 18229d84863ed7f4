select
  cast(ordered_at as date) as day,
  region,
  count(*) as orders,
  count(amount) as priced,
  cast(coalesce(sum(amount), 0) as decimal(38, 2)) as amount,
  max(ordered_at) as last_ordered_at
from {{ source('SYSTEM', 'orders') }}
group by all
