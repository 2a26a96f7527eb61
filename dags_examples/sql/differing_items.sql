-- KPIs whose plan item does not hold the newest figure of the warehouse: what was pushed, and what the plan has.
select v.kpi_id, cast(v.value as varchar(40)) as pushed, cast(i.current_value as varchar(40)) as in_the_plan
from kpi_values v
join (
    select kpi_id, max(day) as day
    from kpi_values
    where day <= '{{ data_interval_end | default(dag_run.run_after) | ds }}'
    group by kpi_id
) newest on newest.kpi_id = v.kpi_id and newest.day = v.day
join kpis k on k.kpi_id = v.kpi_id
left join plan_items i on i.plan_id = '{{ params.plan_id }}' and i.name = k.name
where i.current_value is null or cast(i.current_value as decimal(38, 9)) <> v.value
order by v.kpi_id
