WITH raw AS (
  SELECT topic_id AS _topic_id, kafka_partition AS _kafka_partition, "offset" AS _offset, seq AS _seq, landed_at AS _landed_at, value AS _value, octet_length(value) AS _bytes, CASE WHEN octet_length(value) BETWEEN 1 AND 1048576 THEN value END AS _readable FROM bronze WHERE kind = 'record'
),
text AS (
  SELECT *, try(decode(_readable)) AS _body FROM raw
),
screened AS (
  SELECT *, CASE WHEN _value IS NULL THEN 'tombstone' WHEN _bytes = 0 THEN 'empty' WHEN _bytes > 1048576 THEN 'too_large' WHEN _body IS NULL THEN 'invalid_utf8' WHEN contains(_body, chr(0)) THEN 'nul_byte' END AS _fault FROM text
),
parsed AS (
  SELECT *, CASE WHEN CASE WHEN _fault IS NULL THEN json_valid(_body) AND NOT CASE WHEN ends_with(_body, '"}') AND NOT (contains(_body, '[') OR _body LIKE '%{%{%') THEN false ELSE CASE WHEN regexp_matches(_body, ',[ \t\r\n]*[}\]]') THEN regexp_matches(regexp_replace(_body, '(?s)"(?:[^"\\]|\\.)*"', '""', 'g'), ',[ \t\r\n]*[}\]]') ELSE false END END END THEN _body END AS _json FROM screened
),
named AS (
  SELECT *, json_keys(_json) AS _names FROM parsed
),
shaped AS (
  SELECT *, CASE WHEN _fault IS NOT NULL THEN _fault WHEN _json IS NULL THEN CASE WHEN trim(_body, ' ' || chr(9) || chr(10) || chr(13)) = '' THEN 'empty' WHEN NOT json_valid(_body) AND json_valid(regexp_replace(regexp_replace(_body, '\\\\', '', 'g'), '\\u[dD][89a-fA-F][0-9a-fA-F]{2}', '', 'g')) THEN 'lone_surrogate' WHEN true THEN 'malformed_json' END WHEN CASE WHEN contains(_json, '[') OR _json LIKE '%{%{%' THEN CASE WHEN strlen(_json) - strlen(replace(replace(_json, '{', ''), '[', '')) > 32 THEN replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(translate(regexp_replace(regexp_replace(_json, '(?s)"(?:[^"\\]|\\.)*"', '""', 'g'), '[^\[\]{}]', '', 'g'), '[]{}', '()()'), '()', ''), '()', ''), '()', ''), '()', ''), '()', ''), '()', ''), '()', ''), '()', ''), '()', ''), '()', ''), '()', ''), '()', ''), '()', ''), '()', ''), '()', ''), '()', ''), '()', ''), '()', ''), '()', ''), '()', ''), '()', ''), '()', ''), '()', ''), '()', ''), '()', ''), '()', ''), '()', ''), '()', ''), '()', ''), '()', ''), '()', ''), '()', '') <> '' ELSE false END ELSE false END THEN 'too_deep' WHEN CASE WHEN _bytes > 5000 THEN strlen(regexp_replace(regexp_replace(_json, '(?s)"(?:[^"\\]|\\.)*"', '""', 'g'), '[^:]', '', 'g')) > 1000 ELSE false END THEN 'too_many_fields' WHEN CASE WHEN len(_names) = 0 THEN json_type(_json) <> 'OBJECT' END THEN 'not_an_object' WHEN CASE WHEN contains(_json, '\u0000') THEN regexp_matches(_json, '(?:^|[^\\])(?:\\\\)*\\u0000') ELSE false END THEN 'nul_byte' END AS _structure FROM named
),
sound AS (
  SELECT *, CASE WHEN _structure IS NULL THEN _json END AS _document FROM shaped
),
extracted AS (
  SELECT *, json_type(_document, ['/event_id', '/event_time', '/service', '/level', '/status', '/user_id', '/trace_id', '/latency_ms', '/host', '/message', '/attributes']) AS _types, json_extract_string(_document, ['/event_id', '/event_time', '/service', '/level', '/status', '/user_id', '/trace_id', '/latency_ms', '/host', '/message', '/attributes']) AS _texts FROM sound
),
unpacked AS (
  SELECT *, _types[11] AS _own_type, _texts[1] AS _x1, _types[1] AS _t1, _texts[2] AS _x2, _types[2] AS _t2, _texts[3] AS _x3, _types[3] AS _t3, _texts[4] AS _x4, _types[4] AS _t4, _texts[5] AS _x5, _types[5] AS _t5, _texts[6] AS _x6, _types[6] AS _t6, _texts[7] AS _x7, _types[7] AS _t7, _texts[8] AS _x8, _types[8] AS _t8, _texts[9] AS _x9, _types[9] AS _t9, _texts[10] AS _x10, _types[10] AS _t10, len(_names) > list_count(_types) AS _more FROM extracted
),
compared AS (
  SELECT *, CASE WHEN _more THEN list_filter(_names, lambda name: NOT name IN ('event_id', 'event_time', 'service', 'level', 'status', 'user_id', 'trace_id', 'latency_ms', 'host', 'message', 'attributes')) END AS _unknown FROM unpacked
),
counted AS (
  SELECT *, CASE WHEN _more THEN len(_names) - len(_unknown) > list_count(_types) OR CASE WHEN len(_unknown) > 1 THEN len(list_distinct(_unknown)) < len(_unknown) ELSE false END ELSE false END AS _doubled FROM compared
),
left_over AS (
  SELECT *, CASE WHEN _own_type = 'OBJECT' THEN CAST(json_extract(_document, '/attributes') AS VARCHAR) END AS _own, CAST(CASE WHEN _doubled THEN NULL WHEN _own_type NOT IN ('OBJECT', 'NULL') THEN json_merge_patch(_document, '{"event_id": null, "event_time": null, "service": null, "level": null, "status": null, "user_id": null, "trace_id": null, "latency_ms": null, "host": null, "message": null}') WHEN len(_unknown) = 1 THEN json_object(_unknown[1], json_extract(_document, '/' || replace(replace(_unknown[1], '~', '~0'), '/', '~1'))) WHEN _more THEN json_merge_patch(_document, '{"event_id": null, "event_time": null, "service": null, "level": null, "status": null, "user_id": null, "trace_id": null, "latency_ms": null, "host": null, "message": null, "attributes": null}') END AS VARCHAR) AS _rest FROM counted
),
merged AS (
  SELECT *, CASE WHEN _own IS NULL OR _own = '{}' THEN _rest WHEN _rest IS NULL THEN _own WHEN true THEN left(_own, length(_own) - 1) || ',' || substring(_rest, 2) END AS _members FROM left_over
),
scrubbed AS (
  SELECT *, CASE WHEN strlen(_members) <= 8192 THEN CASE WHEN contains(_members, '@') OR contains(_members, '%40') OR regexp_matches(_members, '\d{4}[ -]?\d{4,6}[ -]?\d{4}|\d\.\d{1,3}\.\d{1,3}\.\d|[0-9A-Fa-f]::[0-9A-Fa-f]|:[0-9A-Fa-f]{1,4}::|::[0-9A-Fa-f]{1,4}:|(?:[0-9A-Fa-f]{1,4}:){6}') THEN replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(replace(replace(regexp_replace(_members, '("(?:[^"\\]|\\.)*")|([:,\[])-?(?:(?:4\d{3}|5[0-8]\d{2}|6\d{3}|2(?:22[1-9]|2[3-9]\d|[3-6]\d{2}|7[01]\d|720)|3(?:0[0-5]|[4-9]\d)\d)[ -]?\d{4}[ -]?\d{4}[ -]?\d+|3(?:0[0-5]|[4-9]\d)\d[ -]?\d{6}[ -]?\d{4,})(?:\.\d*)?(?:[eE][+-]?\d+)?', '\1\2' || chr(2), 'g'), '"' || chr(2), '"'), chr(2), '"[card]"'), '\\(?:u[0-9A-Fa-f]{4}|["\\/bfnrt])', '\0' || chr(2), 'g'), '[\p{L}\p{N}._%+''-]+(?:@|%40)(?:[\p{L}\p{N}-]+\.)+\p{L}{2,}', '[email]', 'g'), '(^|[^0-9.]|[^0-9]\.|^\.)(?:(?:4\d{3}|5[0-8]\d{2}|6\d{3}|2(?:22[1-9]|2[3-9]\d|[3-6]\d{2}|7[01]\d|720)|3(?:0[0-5]|[4-9]\d)\d)[ -]?\d{4}[ -]?\d{4}[ -]?\d+|3(?:0[0-5]|[4-9]\d)\d[ -]?\d{6}[ -]?\d{4,})', '\1[card]', 'g'), '(\b|_|(?:%[0-9A-Fa-f]{2}|\\\x02?(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|[nrt])))(?:(?:[0-9A-Fa-f]{1,4}:){6}(?:(?:[0-9A-Fa-f]{1,4}:)+[0-9A-Fa-f]{1,4}\b|\d{1,3}(?:\.\d{1,3}){2}\.\d+)|[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4})*::[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4})*\b(?:(?:\.\d{1,3}){2}\.\d+)?|[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4})+::\B)|(\B|_|(?:%[0-9A-Fa-f]{2}|\\\x02?(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|[nrt])))::[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4})+\b(?:(?:\.\d{1,3}){2}\.\d+)?|(\b|[A-Za-z_]|(?:%[0-9A-Fa-f]{2}|\\\x02?(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|[nrt])))\d{1,3}\.(?:0{0,2}[1-9]\d{0,2}\.\d{1,3}\.\d+|0{1,3}\.(?:0{0,2}[1-9]\d{0,2}\.\d+|0{1,3}\.0*[1-9]\d*))', '\1\2\3[ip]', 'g'), chr(2), '') ELSE _members END END AS _attributes FROM merged
),
decoded AS (
  SELECT *, CASE WHEN _doubled THEN 'duplicate_field' WHEN _members IS NULL THEN NULL WHEN strlen(_members) > 8192 THEN 'attributes_too_large' WHEN CASE WHEN _own IS NOT NULL THEN len(list_distinct(json_keys(_members))) < len(json_keys(_members)) ELSE false END THEN 'duplicate_field' WHEN CASE WHEN regexp_matches(_members, '(?i)[:\[,]-?(?:nan|inf)') THEN regexp_matches(regexp_replace(_members, '(?s)"(?:[^"\\]|\\.)*"', '""', 'g'), '(?i)[:\[,]-?(?:nan|inf)') ELSE false END THEN 'non_finite' WHEN CASE WHEN _attributes <> _members THEN NOT json_valid(_attributes) ELSE false END THEN 'undecodable' END AS _attributes_fault FROM scrubbed
),
valued AS (
  SELECT *, _x1 AS "event_id", CASE WHEN regexp_full_match(_x2, '\d{4}-\d{2}-\d{2}[T ](?:[01]\d|2[0-3]):\d{2}:\d{2}(?:\.\d{1,9})?(?:Z|[+-](?:0\d|1[0-4])(?::?[0-5]\d)?)') THEN try_cast(_x2 AS TIMESTAMPTZ) END AS "event_time", _x3 AS "service", _x4 AS "level", try_cast(_x5 AS BIGINT) AS "status", _x6 AS "user_id", _x7 AS "trace_id", try_cast(_x8 AS DOUBLE) AS "latency_ms", _x9 AS "host", _x10 AS "message" FROM decoded
),
judged AS (
  SELECT *, CASE WHEN _structure IS NOT NULL THEN _structure WHEN _x1 IS NULL THEN 'missing:event_id' WHEN _x1 IS NOT NULL AND NOT _t1 IN ('VARCHAR') THEN CASE WHEN _t1 = 'DOUBLE' AND regexp_matches(_x1, '[nN]') THEN 'non_finite' ELSE 'type:event_id' END WHEN length(_x1) > 128 THEN 'length:event_id' WHEN _x2 IS NULL THEN 'missing:event_time' WHEN _x2 IS NOT NULL AND NOT _t2 IN ('VARCHAR') THEN CASE WHEN _t2 = 'DOUBLE' AND regexp_matches(_x2, '[nN]') THEN 'non_finite' ELSE 'type:event_time' END WHEN _x2 IS NOT NULL AND ("event_time" IS NULL OR NOT isfinite("event_time") OR epoch_us("event_time") NOT BETWEEN -62135596800000000 AND 253402300799999999) THEN 'time:event_time' WHEN epoch_us("event_time") < 0 THEN 'before_1970' WHEN epoch_us("event_time") > epoch_us(_landed_at) + 600000000 THEN 'future' WHEN _x3 IS NULL THEN 'missing:service' WHEN _x3 IS NOT NULL AND NOT _t3 IN ('VARCHAR') THEN CASE WHEN _t3 = 'DOUBLE' AND regexp_matches(_x3, '[nN]') THEN 'non_finite' ELSE 'type:service' END WHEN length(_x3) > 64 THEN 'length:service' WHEN _x4 IS NULL THEN 'missing:level' WHEN _x4 IS NOT NULL AND NOT _t4 IN ('VARCHAR') THEN CASE WHEN _t4 = 'DOUBLE' AND regexp_matches(_x4, '[nN]') THEN 'non_finite' ELSE 'type:level' END WHEN NOT _x4 IN ('TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL') THEN 'enum:level' WHEN _x5 IS NOT NULL AND NOT _t5 IN ('BIGINT', 'UBIGINT') THEN CASE WHEN _t5 = 'DOUBLE' AND regexp_matches(_x5, '[nN]') THEN 'non_finite' WHEN _t5 = 'DOUBLE' AND regexp_full_match(_x5, '[+-]?\d+') THEN 'range:status' ELSE 'type:status' END WHEN _x5 IS NOT NULL AND "status" IS NULL THEN 'range:status' WHEN "status" < 100 THEN 'range:status' WHEN "status" > 599 THEN 'range:status' WHEN _x6 IS NOT NULL AND NOT _t6 IN ('VARCHAR') THEN CASE WHEN _t6 = 'DOUBLE' AND regexp_matches(_x6, '[nN]') THEN 'non_finite' ELSE 'type:user_id' END WHEN length(_x6) > 256 THEN 'length:user_id' WHEN _x7 IS NOT NULL AND NOT _t7 IN ('VARCHAR') THEN CASE WHEN _t7 = 'DOUBLE' AND regexp_matches(_x7, '[nN]') THEN 'non_finite' ELSE 'type:trace_id' END WHEN length(_x7) > 64 THEN 'length:trace_id' WHEN _x8 IS NOT NULL AND NOT _t8 IN ('BIGINT', 'UBIGINT', 'DOUBLE') THEN CASE WHEN _t8 = 'DOUBLE' AND regexp_matches(_x8, '[nN]') THEN 'non_finite' ELSE 'type:latency_ms' END WHEN _x8 IS NOT NULL AND ("latency_ms" IS NULL OR NOT isfinite("latency_ms")) THEN CASE WHEN regexp_matches(_x8, '[nN]') THEN 'non_finite' ELSE 'range:latency_ms' END WHEN "latency_ms" < 0 THEN 'range:latency_ms' WHEN _x9 IS NOT NULL AND NOT _t9 IN ('VARCHAR') THEN CASE WHEN _t9 = 'DOUBLE' AND regexp_matches(_x9, '[nN]') THEN 'non_finite' ELSE 'type:host' END WHEN length(_x9) > 255 THEN 'length:host' WHEN _x10 IS NOT NULL AND NOT _t10 IN ('VARCHAR') THEN CASE WHEN _t10 = 'DOUBLE' AND regexp_matches(_x10, '[nN]') THEN 'non_finite' ELSE 'type:message' END WHEN length(_x10) > 32768 THEN 'length:message' WHEN _attributes_fault IS NOT NULL THEN _attributes_fault END AS _reason FROM valued
)
SELECT _topic_id, _kafka_partition, _offset, _seq, _landed_at, _bytes,
  "event_id" AS "event_id",
  "event_time" AS "event_time",
  "service" AS "service",
  "level" AS "level",
  "status" AS "status",
  "user_id" AS "user_id",
  "trace_id" AS "trace_id",
  "latency_ms" AS "latency_ms",
  "host" AS "host",
  CASE WHEN contains("message", '@') OR contains("message", '%40') OR regexp_matches("message", '\d{4}[ -]?\d{4,6}[ -]?\d{4}|\d\.\d{1,3}\.\d{1,3}\.\d|[0-9A-Fa-f]::[0-9A-Fa-f]|:[0-9A-Fa-f]{1,4}::|::[0-9A-Fa-f]{1,4}:|(?:[0-9A-Fa-f]{1,4}:){6}') THEN regexp_replace(CASE WHEN contains("message", '@') OR contains("message", '%40') OR regexp_matches("message", '\d{4}[ -]?\d{4,6}[ -]?\d{4}') THEN regexp_replace(regexp_replace("message", '[\p{L}\p{N}._%+''-]+(?:@|%40)(?:[\p{L}\p{N}-]+\.)+\p{L}{2,}', '[email]', 'g'), '(^|[^0-9.]|[^0-9]\.|^\.)(?:(?:4\d{3}|5[0-8]\d{2}|6\d{3}|2(?:22[1-9]|2[3-9]\d|[3-6]\d{2}|7[01]\d|720)|3(?:0[0-5]|[4-9]\d)\d)[ -]?\d{4}[ -]?\d{4}[ -]?\d+|3(?:0[0-5]|[4-9]\d)\d[ -]?\d{6}[ -]?\d{4,})', '\1[card]', 'g') ELSE "message" END, '(\b|_|(?:%[0-9A-Fa-f]{2}|\\\x02?(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|[nrt])))(?:(?:[0-9A-Fa-f]{1,4}:){6}(?:(?:[0-9A-Fa-f]{1,4}:)+[0-9A-Fa-f]{1,4}\b|\d{1,3}(?:\.\d{1,3}){2}\.\d+)|[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4})*::[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4})*\b(?:(?:\.\d{1,3}){2}\.\d+)?|[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4})+::\B)|(\B|_|(?:%[0-9A-Fa-f]{2}|\\\x02?(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|[nrt])))::[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4})+\b(?:(?:\.\d{1,3}){2}\.\d+)?|(\b|[A-Za-z_]|(?:%[0-9A-Fa-f]{2}|\\\x02?(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|[nrt])))\d{1,3}\.(?:0{0,2}[1-9]\d{0,2}\.\d{1,3}\.\d+|0{1,3}\.(?:0{0,2}[1-9]\d{0,2}\.\d+|0{1,3}\.0*[1-9]\d*))', '\1\2\3[ip]', 'g') ELSE "message" END AS "message",
  _attributes AS "attributes",
  CAST(CAST(make_timestamp(epoch_us("event_time")) AS DATE) AS VARCHAR) AS event_partition,
  epoch_us("event_time") < epoch_us(_landed_at) - 172800000000 AS _history,
  _reason FROM judged
