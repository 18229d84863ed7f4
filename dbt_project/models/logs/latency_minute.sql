with buckets as (
  select
    minute,
    service,
    coalesce(route, '(none)') as route,
    {{ bucket_of('latency_ms') }} as bucket,
    count(*) as requests,
    sum(latency_ms) as sum_ms,
    max(latency_ms) as max_ms
  from {{ ref('stg_logs') }}
  where latency_ms is not null
  group by all
),
totals as (
  select minute, service, route, sum(requests) as requests, sum(sum_ms) as sum_ms, max(max_ms) as max_ms
  from buckets
  group by all
),
shares as (
  {{ percentiles('buckets', 'minute, service, route') }}
)
select
  minute,
  service,
  route,
  requests,
  least(sum_ms / requests, max_ms) as mean_ms,
  least(p50_ms, max_ms) as p50_ms,
  least(p95_ms, max_ms) as p95_ms,
  least(p99_ms, max_ms) as p99_ms,
  max_ms,
  histogram
from totals join shares using (minute, service, route)
