with requests as (
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
routes as (
  select minute, service, route, sum(requests) as requests from requests group by all
),
ranked as (
  {{ placed('routes', 'minute', 'requests', ['route']) }}
),
buckets as (
  select
    minute,
    service,
    {{ kept('route', 'minute') }} as route,
    bucket,
    sum(one.requests) as requests,
    sum(sum_ms) as sum_ms,
    max(max_ms) as max_ms
  from requests as one join ranked using (minute, service, route)
  group by all
),
totals as (
  select minute, service, route, sum(requests) as total, sum(sum_ms) as sum_ms, max(max_ms) as max_ms
  from buckets
  group by all
)
{{ latencies('totals', 'buckets', 'minute, service, route') }}
