with minutes as (
  select *, date_trunc('hour', minute) as hour
  from {{ ref('latency_minute') }}
  where date_trunc('hour', minute) in {{ requested('hour') }}
),
buckets as (
  select hour, service, route, entry.bucket as bucket, sum(entry.requests) as requests
  from (select hour, service, route, unnest(histogram) as entry from minutes)
  group by all
),
totals as (
  select
    hour,
    service,
    route,
    sum(requests) as total,
    sum(mean_ms * requests) as sum_ms,
    max(max_ms) as max_ms
  from minutes
  group by all
),
shares as (
  {{ percentiles('buckets', 'hour, service, route') }}
)
select
  hour,
  service,
  route,
  total as requests,
  least(sum_ms / total, max_ms) as mean_ms,
  least(p50_ms, max_ms) as p50_ms,
  least(p95_ms, max_ms) as p95_ms,
  least(p99_ms, max_ms) as p99_ms,
  max_ms,
  histogram
from totals join shares using (hour, service, route)
