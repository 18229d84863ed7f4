WITH raw AS (
  SELECT topic_id AS _topic_id, kafka_partition AS _kafka_partition, "offset" AS _offset, seq AS _seq, landed_at AS _landed_at, value AS _value, octet_length(value) AS _bytes, CASE WHEN octet_length(value) BETWEEN 1 AND 65536 THEN value END AS _readable FROM bronze WHERE kind = 'record'
),
text AS (
  SELECT *, try(decode(_readable)) AS _body FROM raw
),
screened AS (
  SELECT *, CASE WHEN _value IS NULL THEN 'tombstone' WHEN _bytes = 0 THEN 'empty' WHEN _bytes > 65536 THEN 'too_large' WHEN _body IS NULL THEN 'invalid_utf8' WHEN contains(_body, chr(0)) THEN 'nul_byte' END AS _fault FROM text
),
grouped AS (
  SELECT *, regexp_extract(CASE WHEN _fault IS NULL THEN rtrim(_body, chr(13) || chr(10)) END, '^(?P<_whole>(?:^(?P<client_ip>\S+) \S+ (?P<user>\S+) \[(?P<time>[^\]]+)\] "(?P<method>[A-Z]+) (?P<path>\S+) (?P<protocol>[^" ]+)" (?P<status>\d{3}) (?P<bytes>\d+|-) "(?P<referrer>(?:[^"\\]|\\.)*)" "(?P<agent>(?:[^"\\]|\\.)*)"$))$', ['_whole', 'client_ip', 'user', 'time', 'method', 'path', 'protocol', 'status', 'bytes', 'referrer', 'agent']) AS _groups FROM screened
),
decoded AS (
  SELECT *, CASE WHEN _fault IS NOT NULL THEN _fault WHEN _groups._whole = '' AND trim(_body, ' ' || chr(9) || chr(10) || chr(13)) = '' THEN 'empty' WHEN _groups._whole = '' THEN 'no_match' END AS _structure, CASE WHEN _groups._whole <> '' AND true THEN _groups."client_ip" END AS _x1, CASE WHEN _groups._whole <> '' AND NOT _groups."user" IN ('-') THEN _groups."user" END AS _x2, CASE WHEN _groups._whole <> '' AND true THEN _groups."time" END AS _x3, CASE WHEN _groups._whole <> '' AND true THEN _groups."method" END AS _x4, CASE WHEN _groups._whole <> '' AND true THEN _groups."path" END AS _x5, CASE WHEN _groups._whole <> '' AND true THEN _groups."protocol" END AS _x6, CASE WHEN _groups._whole <> '' AND true THEN _groups."status" END AS _x7, CASE WHEN _groups._whole <> '' AND NOT _groups."bytes" IN ('-') THEN _groups."bytes" END AS _x8, CASE WHEN _groups._whole <> '' AND NOT _groups."referrer" IN ('-') THEN _groups."referrer" END AS _x9, CASE WHEN _groups._whole <> '' AND NOT _groups."agent" IN ('-') THEN _groups."agent" END AS _x10 FROM grouped
),
valued AS (
  SELECT *, _x1 AS "client_ip", _x2 AS "user", try_strptime(_x3, '%d/%b/%Y:%H:%M:%S %z') AS "event_time", _x4 AS "method", _x5 AS "path", _x6 AS "protocol", try_cast(_x7 AS BIGINT) AS "status", try_cast(_x8 AS BIGINT) AS "bytes", _x9 AS "referrer", _x10 AS "agent" FROM decoded
),
judged AS (
  SELECT *, CASE WHEN _structure IS NOT NULL THEN _structure WHEN _x1 IS NULL THEN 'missing:client_ip' WHEN length(_x1) > 255 THEN 'length:client_ip' WHEN length(_x2) > 256 THEN 'length:user' WHEN _x3 IS NULL THEN 'missing:event_time' WHEN _x3 IS NOT NULL AND ("event_time" IS NULL OR NOT isfinite("event_time") OR epoch_us("event_time") NOT BETWEEN -62135596800000000 AND 253402300799999999) THEN 'time:event_time' WHEN epoch_us("event_time") < 0 THEN 'before_1970' WHEN epoch_us("event_time") > epoch_us(_landed_at) + 600000000 THEN 'future' WHEN _x4 IS NULL THEN 'missing:method' WHEN length(_x4) > 32 THEN 'length:method' WHEN _x5 IS NULL THEN 'missing:path' WHEN length(_x5) > 8192 THEN 'length:path' WHEN _x6 IS NULL THEN 'missing:protocol' WHEN length(_x6) > 16 THEN 'length:protocol' WHEN _x7 IS NULL THEN 'missing:status' WHEN NOT regexp_full_match(_x7, '[+-]?\d+') THEN 'type:status' WHEN _x7 IS NOT NULL AND "status" IS NULL THEN 'range:status' WHEN "status" < 100 THEN 'range:status' WHEN "status" > 599 THEN 'range:status' WHEN NOT regexp_full_match(_x8, '[+-]?\d+') THEN 'type:bytes' WHEN _x8 IS NOT NULL AND "bytes" IS NULL THEN 'range:bytes' WHEN "bytes" < 0 THEN 'range:bytes' WHEN length(_x9) > 8192 THEN 'length:referrer' WHEN length(_x10) > 8192 THEN 'length:agent' END AS _reason FROM valued
)
SELECT _topic_id, _kafka_partition, _offset, _seq, _landed_at, _bytes,
  "client_ip" AS "client_ip",
  "user" AS "user",
  "event_time" AS "event_time",
  "method" AS "method",
  CASE WHEN contains("path", '@') OR contains("path", '%40') OR regexp_matches("path", '\d{4}[ -]?\d{4,6}[ -]?\d{4}') THEN regexp_replace(regexp_replace("path", '[\p{L}\p{N}._%+''-]+(?:@|%40)(?:[\p{L}\p{N}-]+\.)+\p{L}{2,}', '[email]', 'g'), '(^|[^0-9.]|[^0-9]\.|^\.)(?:(?:4\d{3}|5[0-8]\d{2}|6\d{3}|2(?:22[1-9]|2[3-9]\d|[3-6]\d{2}|7[01]\d|720)|3(?:0[0-5]|[4-9]\d)\d)[ -]?\d{4}[ -]?\d{4}[ -]?\d+|3(?:0[0-5]|[4-9]\d)\d[ -]?\d{6}[ -]?\d{4,})', '\1[card]', 'g') ELSE "path" END AS "path",
  "protocol" AS "protocol",
  "status" AS "status",
  "bytes" AS "bytes",
  CASE WHEN contains("referrer", '@') OR contains("referrer", '%40') OR regexp_matches("referrer", '\d{4}[ -]?\d{4,6}[ -]?\d{4}') THEN regexp_replace(regexp_replace("referrer", '[\p{L}\p{N}._%+''-]+(?:@|%40)(?:[\p{L}\p{N}-]+\.)+\p{L}{2,}', '[email]', 'g'), '(^|[^0-9.]|[^0-9]\.|^\.)(?:(?:4\d{3}|5[0-8]\d{2}|6\d{3}|2(?:22[1-9]|2[3-9]\d|[3-6]\d{2}|7[01]\d|720)|3(?:0[0-5]|[4-9]\d)\d)[ -]?\d{4}[ -]?\d{4}[ -]?\d+|3(?:0[0-5]|[4-9]\d)\d[ -]?\d{6}[ -]?\d{4,})', '\1[card]', 'g') ELSE "referrer" END AS "referrer",
  CASE WHEN contains("agent", '@') OR contains("agent", '%40') OR regexp_matches("agent", '\d{4}[ -]?\d{4,6}[ -]?\d{4}') THEN regexp_replace(regexp_replace("agent", '[\p{L}\p{N}._%+''-]+(?:@|%40)(?:[\p{L}\p{N}-]+\.)+\p{L}{2,}', '[email]', 'g'), '(^|[^0-9.]|[^0-9]\.|^\.)(?:(?:4\d{3}|5[0-8]\d{2}|6\d{3}|2(?:22[1-9]|2[3-9]\d|[3-6]\d{2}|7[01]\d|720)|3(?:0[0-5]|[4-9]\d)\d)[ -]?\d{4}[ -]?\d{4}[ -]?\d+|3(?:0[0-5]|[4-9]\d)\d[ -]?\d{6}[ -]?\d{4,})', '\1[card]', 'g') ELSE "agent" END AS "agent",
  CAST(CAST(make_timestamp(epoch_us("event_time")) AS DATE) AS VARCHAR) AS event_partition,
  epoch_us("event_time") < epoch_us(_landed_at) - 172800000000 AS _history,
  _reason FROM judged
