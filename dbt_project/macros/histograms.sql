{#
  Histograms that merge by adding: logarithmic buckets, in which any two values differ by at most 2 % and the value shown for
  one by at most 1 % (DDSketch, Masson et al., VLDB 2019). Bucket i holds (g^(i-1), g^i] with g = 1.01 / 0.99; what is below a
  microsecond counts as 0.
#}
{% macro bucket_of(value) -%}
  case when {{ value }} < 0.001 then -1000000
    else cast(ceil(ln({{ value }}) / ln(1.01 / 0.99)) as integer) end
{%- endmacro %}

{% macro bucket_value(bucket) -%}
  case when {{ bucket }} = -1000000 then 0.0
    else pow(1.01 / 0.99, {{ bucket }}) / ((1.01 / 0.99 + 1) / 2) end
{%- endmacro %}

{#
  SELECT of the keys, `histogram` and the nearest-rank percentiles of a relation with the keys, `bucket` and `requests`. What is
  shown for a bucket may lie above its greatest value, and of the largest doubles be infinite: `least(..., max_ms)` is neither.
#}
{% macro percentiles(relation, keys, shown=(50, 95, 99)) -%}
  select {{ keys }},
    {% for p in shown -%}
    min({{ bucket_value('bucket') }}) filter (where 100 * running >= {{ p }} * total) as p{{ p }}_ms,
    {% endfor -%}
    list({'bucket': bucket, 'requests': requests} order by bucket) as histogram
  from (
    select *,
      sum(requests) over (partition by {{ keys }} order by bucket) as running,
      sum(requests) over (partition by {{ keys }}) as total
    from {{ relation }}
  )
  group by {{ keys }}
{%- endmacro %}

{#
  SELECT of latencies by the keys: requests, mean, percentiles, maximum and histogram. `totals` has the keys, `total`, `sum_ms`
  and `max_ms`; `buckets` the keys, `bucket` and `requests`. The mean of what sums up to more than a double holds is the maximum.
#}
{% macro latencies(totals, buckets, keys) -%}
  select
    {{ keys }},
    total as requests,
    least(sum_ms / total, max_ms) as mean_ms,
    least(p50_ms, max_ms) as p50_ms,
    least(p95_ms, max_ms) as p95_ms,
    least(p99_ms, max_ms) as p99_ms,
    max_ms,
    histogram
  from {{ totals }} join ({{ percentiles(buckets, keys) }}) as shares using ({{ keys }})
{%- endmacro %}
