{{ config(
  description='The minutes of every requested hour add up to it.',
  meta={'dagster': {'ref': {'name': 'errors_hour'}}}
) }}
with minutes as (
  select date_trunc('hour', minute) as hour, service, status, sum(events) as events, sum(errors) as errors
  from {{ ref('errors_minute') }}
  where date_trunc('hour', minute) in {{ requested('hour') }}
  group by all
),
hours as (
  select hour, service, status, events, errors from {{ ref('errors_hour') }} where hour in {{ requested('hour') }}
)
(select * from minutes except select * from hours)
union all
(select * from hours except select * from minutes)
