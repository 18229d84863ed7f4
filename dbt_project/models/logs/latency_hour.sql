with minutes as (
  select *, date_trunc('hour', minute) as hour
  from {{ ref('latency_minute') }}
  where date_trunc('hour', minute) in {{ requested('hour') }}
),
routes as (
  select hour, service, route, sum(requests) as requests from minutes group by all
),
ranked as (
  {{ placed('routes', 'hour', 'requests', ['route']) }}
),
named as (
  select minutes.* exclude (route), {{ kept('route', 'hour') }} as route
  from minutes join ranked using (hour, service, route)
),
buckets as (
  select hour, service, route, entry.bucket as bucket, sum(entry.requests) as requests
  from (select hour, service, route, unnest(histogram) as entry from named)
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
  from named
  group by all
)
{{ latencies('totals', 'buckets', 'hour, service, route') }}
