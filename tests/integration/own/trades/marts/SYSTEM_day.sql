select
  cast(minute as date) as day,
  symbol,
  arg_min(open, minute) as open,
  max(high) as high,
  min(low) as low,
  arg_max(close, minute) as close,
  cast(sum(volume) as decimal(38, 8)) as volume,
  cast(sum(turnover) as decimal(38, 16)) as turnover,
  cast(sum(trades) as bigint) as trades
from {{ ref('SYSTEM_minute') }}
group by all
