{# Each requested day, and the day before it: from its hours, or from its own report when retention has closed it. #}
with days as (
  select slot as day from {{ requested('day') }}
  union
  select cast(slot - 1 as date) from {{ requested('day') }}
),
counted as (
  select cast(hour as date) as day, service, sum(events) as events, sum(errors) as errors
  from {{ ref('errors_hour') }}
  where cast(hour as date) in (select day from days)
  group by all
),
users as (
  select cast(hour as date) as day, service, count(distinct user_id) as users_hit
  from {{ ref('error_users_hour') }}
  where cast(hour as date) in (select day from days)
  group by all
),
latencies as (
  select cast(hour as date) as day, service, max_ms, histogram
  from {{ ref('latency_hour') }}
  where cast(hour as date) in {{ requested('day') }}
),
buckets as (
  select day, service, entry.bucket as bucket, sum(entry.requests) as requests
  from (select day, service, unnest(histogram) as entry from latencies)
  group by all
),
slow as (
  select day, service, least(p95_ms, max_ms) as p95_ms
  from (select day, service, max(max_ms) as max_ms from latencies group by all)
  join ({{ percentiles('buckets', 'day, service', (95,)) }}) as shares using (day, service)
),
joined as (
  select day, service, events, errors, coalesce(users_hit, 0) as users_hit, p95_ms
  from counted left join users using (day, service) left join slow using (day, service)
),
previous as (
  select day, service, events, errors, users_hit from joined
  union all
  select day, service, events, errors, users_hit from {{ closed() }}
  where day not in (select day from counted)
)
select
  today.day,
  today.service,
  today.events,
  today.errors,
  today.errors / today.events as error_rate,
  today.users_hit,
  today.p95_ms,
  coalesce(yesterday.events, 0) as previous_events,
  coalesce(yesterday.errors, 0) as previous_errors,
  coalesce(yesterday.users_hit, 0) as previous_users_hit,
  (today.errors - yesterday.errors) / nullif(yesterday.errors, 0) as error_change
from joined as today
left join previous as yesterday on yesterday.service = today.service and yesterday.day = today.day - 1
where today.day in {{ requested('day') }}
