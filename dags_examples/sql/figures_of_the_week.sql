-- The last figure of every KPI in the run's own week: from its first day up to, not including, the first day after it.
select v.kpi_id, v.rag, v.value, v.note
from kpi_values v
join (
    select kpi_id, max(day) as day
    from kpi_values
    where day >= '{{ data_interval_start | ds }}' and day < '{{ data_interval_end | ds }}'
    group by kpi_id
) newest on newest.kpi_id = v.kpi_id and newest.day = v.day
order by v.kpi_id
