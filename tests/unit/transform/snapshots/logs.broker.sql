WITH raw AS (
  SELECT _source, _shard, _position, seq AS _seq, landed_at AS _landed_at, value AS _value, octet_length(value) AS _bytes, CASE WHEN octet_length(value) BETWEEN 1 AND 1048576 THEN value END AS _readable FROM bronze WHERE kind = 'record'
),
text AS (
  SELECT *, try(decode(_readable)) AS _body FROM raw
),
screened AS (
  SELECT *, CASE WHEN _value IS NULL THEN 'tombstone' WHEN _bytes = 0 THEN 'empty' WHEN _bytes > 1048576 THEN 'too_large' WHEN _body IS NULL THEN 'invalid_utf8' WHEN contains(_body, chr(0)) THEN 'nul_byte' END AS _fault FROM text
),
lined AS (
  SELECT *, CASE WHEN _fault IS NULL THEN rtrim(_body, chr(13) || chr(10)) END AS _line FROM screened
),
grouped0 AS (
  SELECT *, regexp_extract(_line, '^(?P<_whole>(?:(?s)^\[(?P<time>\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}:\d{2}(?:[,.]\d{1,9})?(?:Z|[+-]\d{2}:?\d{2})?)\] +(?P<level>[A-Z]+) +(?P<message>.*?)\s+\((?P<logger>(?:[A-Za-z_$][\w$-]*(?:/[\w$-]+)*(?:\[[^\[\]()\n]*\])*|\[[^\[\]()\n]*\])(?:\.(?:[A-Za-z_$][\w$-]*(?:/[\w$-]+)*(?:\[[^\[\]()\n]*\])*|\[[^\[\]()\n]*\]))+|[A-Za-z_]\w*\$[\w$]*)\)[ \t]*(?:\r?\n(?P<stack>.+))?$))$', ['_whole', 'time', 'level', 'message', 'logger', 'stack']) AS _groups0 FROM lined
),
grouped1 AS (
  SELECT *, CASE WHEN _groups0._whole = '' THEN regexp_extract(_line, '^(?P<_whole>(?:(?s)^\[(?P<time>\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}:\d{2}(?:[,.]\d{1,9})?(?:Z|[+-]\d{2}:?\d{2})?)\] +(?P<level>[A-Z]+) +(?P<message>.*?)(?:\r?\n(?P<stack>Caused by: .+|(?:[A-Za-z_$][\w.$]*(?:Exception|Error|Throwable)\b[^\n]*\n)?\s+at .+))?$))$', ['_whole', 'time', 'level', 'message', 'stack']) END AS _groups1 FROM grouped0
),
decoded AS (
  SELECT *, CASE WHEN _fault IS NOT NULL THEN _fault WHEN _groups1._whole = '' AND trim(_body, ' ' || chr(9) || chr(10) || chr(13)) = '' THEN 'empty' WHEN _groups1._whole = '' THEN 'no_match' END AS _structure, CASE WHEN _groups0._whole <> '' THEN _groups0."time" WHEN _groups1._whole <> '' THEN _groups1."time" END AS _x1, CASE WHEN _groups0._whole <> '' THEN _groups0."level" WHEN _groups1._whole <> '' THEN _groups1."level" END AS _x2, CASE WHEN _groups0._whole <> '' THEN _groups0."message" WHEN _groups1._whole <> '' THEN _groups1."message" END AS _x3, CASE WHEN _groups0._whole <> '' AND NOT _groups0."logger" IN ('') THEN _groups0."logger" END AS _x4, CASE WHEN _groups0._whole <> '' AND NOT _groups0."stack" IN ('') THEN _groups0."stack" WHEN _groups1._whole <> '' AND NOT _groups1."stack" IN ('') THEN _groups1."stack" END AS _x5 FROM grouped1
),
valued AS (
  SELECT *, coalesce((try_strptime(_x1, '%Y-%m-%d %H:%M:%S,%g') AT TIME ZONE 'Etc/UTC'), coalesce(CASE WHEN regexp_full_match(_x1, '\d{4}-\d{2}-\d{2}[T ](?:[01]\d|2[0-3]):\d{2}:\d{2}(?:\.\d{1,9})?(?:Z|[+-](?:0\d|1[0-4])(?::?[0-5]\d)?)') THEN try_cast(_x1 AS TIMESTAMPTZ) END, (CASE WHEN regexp_full_match(_x1, '\d{4}-\d{2}-\d{2}[T ](?:[01]\d|2[0-3]):\d{2}:\d{2}(?:\.\d{1,9})?') THEN try_cast(_x1 AS TIMESTAMP) END AT TIME ZONE 'Etc/UTC')), (try_strptime(_x1, '%Y-%m-%dT%H:%M:%S,%f') AT TIME ZONE 'Etc/UTC'), try_strptime(_x1, '%Y-%m-%dT%H:%M:%S,%f%z'), (try_strptime(_x1, '%Y-%m-%d %H:%M:%S,%f') AT TIME ZONE 'Etc/UTC'), try_strptime(_x1, '%Y-%m-%d %H:%M:%S,%f%z')) AS "event_time", _x2 AS "level", _x3 AS "message", _x4 AS "logger", _x5 AS "stack" FROM decoded
),
evaluated AS (
  SELECT *, CASE WHEN _structure IS NOT NULL THEN _structure WHEN _x1 IS NULL THEN 'missing:event_time' WHEN _x1 IS NOT NULL AND ("event_time" IS NULL OR NOT isfinite("event_time") OR epoch_us("event_time") NOT BETWEEN -62135596800000000 AND 253402300799999999) THEN 'time:event_time' WHEN epoch_us("event_time") < 0 THEN 'before_1970' WHEN epoch_us("event_time") > epoch_us(_landed_at) + 600000000 THEN 'future' WHEN _x2 IS NULL THEN 'missing:level' WHEN NOT _x2 IN ('TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL') THEN 'enum:level' WHEN _x3 IS NULL THEN 'missing:message' WHEN length(_x3) > 524288 THEN 'length:message' WHEN length(_x4) > 255 THEN 'length:logger' WHEN length(_x5) > 524288 THEN 'length:stack' END AS _reason FROM valued
)
SELECT _source, _shard, _position, _seq, _landed_at, _bytes,
  "event_time" AS "event_time",
  "level" AS "level",
  CASE WHEN regexp_matches("message", '[@\x{ff20}\x{fe6b}][^\s@\"]*[%=&\\.\x{b7}\x{387}\x{2022}\x{2219}\x{22c5}\x{30fb}\x{ff65}\x{3002}\x{fe12}\x{ff61}\x{ff0e}\x{2024}\x{fe52}]|%(?:2[56]|3[0-9]|4[0-9A-Fa-f]|5[0-9AaCc]|6[0-9A-Fa-f]|7[0-9Aa]|[uU][0-9A-Fa-f]|[Cc][01]%|[Ee][Ff]%)|%3[Dd](?:4(?:0|%)|[%=&\\]|3[0-9Dd]|2[56]|5[Cc])|&%23|&#|&(?i:commat|num|percnt|bsol|equals);|&(?i:amp);(?:[#%=&\\]|[A-Za-z0-9]{2,31};)|\w(?:(?:\x1b\[|\x{9b})[0-?]*[ -/]*(?:[@-~]|=[0-9A-Fa-f]{2})|\x1b(?:[ -/]{1,3}[0-~]|[0-Z\\^-~]))+\w|[0-9][^0-9A-Za-z,:;\"''()\[\]{}<>\x1b]*(?:(?:(?:\x1b\[|\x{9b})[0-?]*[ -/]*(?:[@-~]|=[0-9A-Fa-f]{2})|\x1b(?:[ -/]{1,3}[0-~]|[0-Z\\^-~]))[^0-9A-Za-z,:;\"''()\[\]{}<>\x1b]*)+(?:[0-9=]|[^\x00-\x7f])|%1[Bb]|=1[Bb](?:[78]|[^0-9A-Za-z\s;&])|\x1b[\]PX^_]|[\x{90}\x{98}\x{9d}-\x{9f}]|%[Cc]2%9|=[Cc]2=9|\\[uUxX](?:[0-9A-Fa-f]|[{=%&])|\\[0-3][0-7]{2}|=40[0-9]{0,20}[^0-9&;\s\"]|=3[Dd]|=25(?:[0-9A-Fa-f]{2}|[=%&\\])|=26[#=%\\A-Za-z]|=5[Cc]|=[Ee][Ff]=|(?:^|[^0-9])0*(?:[2-689]|[^\x00-\x7f]|[=%]3[0-9]|(?:[=%][0-9A-Fa-f]{2}){2,4})(?:(?:[^0-9A-Za-z,:;\"''()\[\]{}<>]|(?:[%=][0-9A-Fa-f]{2}|&#?[0-9A-Za-z]{1,31};?|\\+[uUxX]\{?[0-9A-Fa-f]{2,8}\}?|\\+[0-7]{3}|\\+[nrt]|=[\r\n]+))*(?:[0-9]|[^\x00-\x7f]|[=%]3[0-9]|(?:[=%][0-9A-Fa-f]{2}){2,4})){12}') THEN scrub_text("message") ELSE "message" END AS "message",
  "logger" AS "logger",
  CASE WHEN regexp_matches("stack", '[@\x{ff20}\x{fe6b}][^\s@\"]*[%=&\\.\x{b7}\x{387}\x{2022}\x{2219}\x{22c5}\x{30fb}\x{ff65}\x{3002}\x{fe12}\x{ff61}\x{ff0e}\x{2024}\x{fe52}]|%(?:2[56]|3[0-9]|4[0-9A-Fa-f]|5[0-9AaCc]|6[0-9A-Fa-f]|7[0-9Aa]|[uU][0-9A-Fa-f]|[Cc][01]%|[Ee][Ff]%)|%3[Dd](?:4(?:0|%)|[%=&\\]|3[0-9Dd]|2[56]|5[Cc])|&%23|&#|&(?i:commat|num|percnt|bsol|equals);|&(?i:amp);(?:[#%=&\\]|[A-Za-z0-9]{2,31};)|\w(?:(?:\x1b\[|\x{9b})[0-?]*[ -/]*(?:[@-~]|=[0-9A-Fa-f]{2})|\x1b(?:[ -/]{1,3}[0-~]|[0-Z\\^-~]))+\w|[0-9][^0-9A-Za-z,:;\"''()\[\]{}<>\x1b]*(?:(?:(?:\x1b\[|\x{9b})[0-?]*[ -/]*(?:[@-~]|=[0-9A-Fa-f]{2})|\x1b(?:[ -/]{1,3}[0-~]|[0-Z\\^-~]))[^0-9A-Za-z,:;\"''()\[\]{}<>\x1b]*)+(?:[0-9=]|[^\x00-\x7f])|%1[Bb]|=1[Bb](?:[78]|[^0-9A-Za-z\s;&])|\x1b[\]PX^_]|[\x{90}\x{98}\x{9d}-\x{9f}]|%[Cc]2%9|=[Cc]2=9|\\[uUxX](?:[0-9A-Fa-f]|[{=%&])|\\[0-3][0-7]{2}|=40[0-9]{0,20}[^0-9&;\s\"]|=3[Dd]|=25(?:[0-9A-Fa-f]{2}|[=%&\\])|=26[#=%\\A-Za-z]|=5[Cc]|=[Ee][Ff]=|(?:^|[^0-9])0*(?:[2-689]|[^\x00-\x7f]|[=%]3[0-9]|(?:[=%][0-9A-Fa-f]{2}){2,4})(?:(?:[^0-9A-Za-z,:;\"''()\[\]{}<>]|(?:[%=][0-9A-Fa-f]{2}|&#?[0-9A-Za-z]{1,31};?|\\+[uUxX]\{?[0-9A-Fa-f]{2,8}\}?|\\+[0-7]{3}|\\+[nrt]|=[\r\n]+))*(?:[0-9]|[^\x00-\x7f]|[=%]3[0-9]|(?:[=%][0-9A-Fa-f]{2}){2,4})){12}') THEN scrub_text("stack") ELSE "stack" END AS "stack",
  CAST(CAST(make_timestamp(epoch_us("event_time")) AS DATE) AS VARCHAR) AS event_partition,
  epoch_us("event_time") < epoch_us(_landed_at) - 172800000000 AS _history,
  _reason FROM evaluated
