select minute, service, user_id, count(*) as errors
from {{ ref('stg_logs') }}
where is_error and user_id is not null
group by all
