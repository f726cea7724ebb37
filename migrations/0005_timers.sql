-- Claims of timers that are due, so that each is worked on by one process at a time. The timers themselves are in documents; a claim that is lost costs
-- only a second try, which changes nothing.

create table evsrc.timer_claims (
  -- What the timers belong to, such as the name of a process manager.
  timer_group text collate "C" not null,
  key text collate "C" not null,
  owner text not null,
  until timestamptz not null,
  primary key (timer_group, key)
);

-- Claims those of the timers that no other owner has claimed, and returns their keys. A claim that would last for longer than a new one does not count:
-- the clock of the server was set back since. Keys whose claim another transaction has locked are
-- left out. Only a first claim of the same key at the same moment waits, for one statement. First claims come first, in the order of their keys:
-- a transaction that waits there holds no lock for which another one waits out of that order, so no two wait for each other.
create function evsrc.claim_timers(p_group text, p_keys text[], p_owner text, p_duration interval) returns setof text
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_first text[];
begin
  with first as (
    insert into evsrc.timer_claims as claim (timer_group, key, owner, until)
      select p_group, wanted.key, p_owner, clock_timestamp() + p_duration
        from (select distinct unnest(p_keys) collate "C") as wanted(key)
        -- An insert of a key that another transaction has just claimed again would wait for it.
        where not exists (
          select from evsrc.timer_claims other where other.timer_group = p_group and other.key = wanted.key
        )
        order by wanted.key
      on conflict do nothing
      returning claim.key
  )
  select coalesce(array_agg(first.key), '{}') into v_first from first;
  return query select unnest(v_first);
  return query
    with free as (
      select claim.key from evsrc.timer_claims claim
        where claim.timer_group = p_group and claim.key = any (p_keys) and claim.key <> all (v_first)
          and (claim.owner = p_owner or claim.until not between clock_timestamp() and clock_timestamp() + p_duration)
        order by claim.key
        for update skip locked
    )
    update evsrc.timer_claims claim set owner = p_owner, until = clock_timestamp() + p_duration
      from free where claim.timer_group = p_group and claim.key = free.key
      returning claim.key;
end $$;

-- Gives up claims of an owner. Its locks are taken in the order of the keys, too.
create function evsrc.release_timers(p_group text, p_keys text[], p_owner text) returns void
language sql volatile
set search_path = pg_catalog, pg_temp
as $$
  with mine as (
    select claim.key from evsrc.timer_claims claim
      where claim.timer_group = p_group and claim.key = any (p_keys) and claim.owner = p_owner
      order by claim.key
      for update
  )
  delete from evsrc.timer_claims claim using mine
    where claim.timer_group = p_group and claim.key = mine.key and claim.owner = p_owner
$$;

insert into evsrc.migrations (migration_id, name) values (5, '0005_timers') on conflict do nothing;
