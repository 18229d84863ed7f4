select date_trunc('hour', minute) as hour, service, user_id, sum(errors) as errors
from {{ ref('error_users_minute') }}
where date_trunc('hour', minute) in {{ requested('hour') }}
group by all
