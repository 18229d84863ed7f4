select
  date_trunc('minute', traded_at) as minute,
  symbol,
  arg_min(price, (traded_at, trade_id)) as open,
  max(price) as high,
  min(price) as low,
  arg_max(price, (traded_at, trade_id)) as close,
  cast(sum(quantity) as decimal(38, 8)) as volume,
  cast(sum(notional) as decimal(38, 16)) as turnover,
  count(*) as trades
from {{ source('SYSTEM', 'trades') }}
group by all
