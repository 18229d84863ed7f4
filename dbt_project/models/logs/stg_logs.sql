with events as (
  select
    event_time,
    service,
    level,
    status,
    user_id,
    {{ route_of("attributes ->> '$.route'") }} as route,
    latency_ms,
    message,
    'events' as source_table,
    {{ document_id() }} as document
  from {{ source('logs', 'events') }}
),
access as (
  select
    event_time,
    'web' as service,
    cast(null as varchar) as level,
    status,
    "user" as user_id,
    method || ' ' || {{ route_of('path') }} as route,
    cast(null as double) as latency_ms,
    cast(null as varchar) as message,
    'access' as source_table,
    {{ document_id() }} as document
  from {{ source('logs', 'access') }}
),
broker as (
  select
    event_time,
    'broker' as service,
    level,
    cast(null as bigint) as status,
    cast(null as varchar) as user_id,
    cast(null as varchar) as route,
    cast(null as double) as latency_ms,
    message,
    'broker' as source_table,
    {{ document_id() }} as document
  from {{ source('logs', 'broker') }}
)
select
  *,
  date_trunc('minute', event_time) as minute,
  coalesce(level in ('ERROR', 'FATAL'), false) or coalesce(status >= 500, false) as is_error
from (
  select * from events union all by name select * from access union all by name select * from broker
)
