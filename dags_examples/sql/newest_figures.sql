-- The newest figure of every KPI on the day of the run.
-- A run has a data interval or, when something other than the clock started it, only a moment after which it ran.
select v.kpi_id, v.rag, v.value, v.day, v.note
from kpi_values v
join (
    select kpi_id, max(day) as day
    from kpi_values
    where day <= '{{ data_interval_end | default(dag_run.run_after) | ds }}'
    group by kpi_id
) newest on newest.kpi_id = v.kpi_id and newest.day = v.day
order by v.kpi_id
