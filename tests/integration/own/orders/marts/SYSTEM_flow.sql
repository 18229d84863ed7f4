with shipped as (
  select cast(shipped_at as date) as day, region, count(*) as parcels
  from {{ source('SYSTEM', 'shipments') }}
  group by all
)
select
  coalesce(ordered.day, shipped.day) as day,
  coalesce(ordered.region, shipped.region) as region,
  coalesce(ordered.orders, 0) as orders,
  coalesce(shipped.parcels, 0) as parcels
from {{ ref('SYSTEM_orders') }} as ordered
full join shipped on ordered.day = shipped.day and ordered.region = shipped.region
