-- A dbt model on DuckDB. It reads the table by `source`, and other marts of this system by `ref`.
select
  date_trunc('hour', event_time) as hour,
  source,
  count(*) as events,
  count(*) filter (where status = 'failed') as failed,
  cast(coalesce(sum(amount), 0) as decimal(18, 2)) as amount
from {{ source('SYSTEM_NAME', 'events') }}
group by all
