-- Builds of a follower's target beside the active one, the switch from one to the other, and their end.
--
-- Whoever begins, switches or discards takes evsrc.active_targets' lock on the follower exclusively; who claims partitions has it shared.

create table evsrc.builds (
  target text collate "C" primary key,
  follower text collate "C" not null,
  -- Of <follower>~<number>; 0 for the follower's own name.
  number integer not null,
  -- Null for one that was not begun as a build.
  started_at timestamptz,
  -- The follower's own name is active from the start; it counts as a build until it has come this far.
  goal bigint not null default 0,
  -- When it last became the active one.
  switched_at timestamptz,
  -- From then on nothing may be written to it.
  discarded_at timestamptz,
  unique (follower, number)
);

create function evsrc.lock_targets(a_follower text) returns void language sql volatile as $$
  select pg_advisory_xact_lock('evsrc.active_targets'::regclass::oid::integer, hashtext(a_follower))
$$;

-- The targets of a follower, with their partitions and how far all of these have come.
--   building   never was active; or it is the follower's own name, and has not reached its goal
--   active     is read, and kept up to date
--   previous   was active before
--   retired    was active before that
--   discarded  is gone, or will be
create function evsrc.targets_of(a_follower text)
returns table (
  target text, status text, started_at timestamptz, switched_at timestamptz, partitions integer, "position" bigint
) language sql stable as $$
  with known as (
    select b.target, b.number, b.started_at, b.goal, b.switched_at, b.discarded_at
      from evsrc.builds b where b.follower = a_follower
    union all
    select a_follower, 0, null, 0, null, null
      where not exists (select from evsrc.builds b where b.target = a_follower)
        and exists (select from evsrc.checkpoints c where c.target = a_follower)
  )
  select k.target,
      case
        when k.discarded_at is not null then 'discarded'
        when k.target = evsrc.active_target(a_follower) then
          case when coalesce(c."position", 0) < k.goal then 'building' else 'active' end
        when k.target = (select a.previous from evsrc.active_targets a where a.follower = a_follower) then 'previous'
        when k.number > 0 and k.switched_at is null then 'building'
        else 'retired'
      end,
      k.started_at, k.switched_at, coalesce(c.partitions, 0), coalesce(c."position", 0)
    from known k left join lateral (
      select max(p.partitions) as partitions, min(p.position) as "position" from evsrc.checkpoints p where p.target = k.target
    ) as c on true
    order by k.number
$$;

-- The build of a follower that is not finished, or a new one. A follower that has never run is its own first build.
--   a_head  how far the log goes now
create function evsrc.begin_build(a_follower text, a_head bigint) returns text language plpgsql volatile as $$
declare
  found_one text;
  n integer;
begin
  perform evsrc.lock_targets(a_follower);
  select t.target into found_one from evsrc.targets_of(a_follower) t where t.status = 'building';
  if found then
    return found_one;
  end if;
  select coalesce(max(b.number), case when exists (select from evsrc.checkpoints c where c.target = a_follower) then 0 else -1 end) + 1
    into n from evsrc.builds b where b.follower = a_follower;
  insert into evsrc.builds (target, follower, number, started_at, goal)
    values (
      case when n = 0 then a_follower else a_follower || '~' || n end, a_follower, n, clock_timestamp(),
      case when n = 0 then a_head else 0 end
    )
    returning target into found_one;
  return found_one;
end $$;

-- Makes a_to the active target, unless a reader would then see documents that are older than those it may have seen: each partition must
-- have come as far as the active target's same one or, where their numbers differ, as far as any.
--   a_behind  switch even so
--   a_hold    null, or for how long to let nobody move the active target if it is ahead, so that the other can reach it
-- Answers 'switched', 'behind' with the positions that are missing, or 'unknown' when a_to is no target of the follower that has run and has
-- not been discarded.
create function evsrc.switch_target(a_follower text, a_to text, a_behind boolean, a_hold interval)
returns table (outcome text, missing bigint) language plpgsql volatile as $$
declare
  now_ timestamptz := clock_timestamp();
  was text;
begin
  perform evsrc.lock_targets(a_follower);
  was := evsrc.active_target(a_follower);
  missing := 0;
  outcome := 'unknown';
  if not exists (select from evsrc.targets_of(a_follower) t where t.target = a_to and t.status <> 'discarded' and t.partitions > 0) then
    return next;
    return;
  end if;
  outcome := 'switched';
  if was = a_to then
    return next;
    return;
  end if;
  -- Whoever is writing a batch to either ends first, and then has no right to write another.
  perform from evsrc.checkpoints c where c.target in (was, a_to) order by c.target, c.partition for update;
  if not a_behind then
    select coalesce(max(case when a.partitions = b.partitions then a.position - b.position
        else (select max(m.position) from evsrc.checkpoints m where m.target = was) - b.position end), 0)
      into missing
      from evsrc.checkpoints b join evsrc.checkpoints a on a.target = was and (a.partition = b.partition or a.partitions <> b.partitions)
      where b.target = a_to;
    if missing > 0 then
      if a_hold is not null then
        update evsrc.checkpoints c set epoch = c.epoch + 1, owner = '', leased_until = now_ + a_hold where c.target = was;
      end if;
      outcome := 'behind';
      return next;
      return;
    end if;
  end if;
  missing := 0;
  insert into evsrc.active_targets as t (follower, target, previous, switched_at) values (a_follower, a_to, was, now_)
    on conflict (follower) do update set target = excluded.target, previous = excluded.previous, switched_at = excluded.switched_at;
  insert into evsrc.builds as b (target, follower, number, switched_at) values (a_to, a_follower, 0, now_)
    on conflict (target) do update set switched_at = excluded.switched_at;
  update evsrc.checkpoints c set epoch = c.epoch + 1, owner = null, leased_until = null where c.target in (was, a_to);
  delete from evsrc.workers w where w.target in (was, a_to);
  return next;
end $$;

create function evsrc.refuse_discarded() returns trigger language plpgsql as $$
begin
  if exists (select from evsrc.builds b where b.target = new.target and b.discarded_at is not null) then
    raise exception '% was discarded', new.target using errcode = 'EV001', hint = 'Begin another build.';
  end if;
  return new;
end $$;

create trigger checkpoints_not_discarded before insert on evsrc.checkpoints
  for each row execute function evsrc.refuse_discarded();

-- Ends a target that is not active: nobody may write to it from now on. What it has written is still there, for remove_discarded.
-- Answers 'discarded', 'active' or 'unknown'; with nothing changed but for the first.
create function evsrc.discard_target(a_follower text, a_target text) returns text language plpgsql volatile as $$
begin
  perform evsrc.lock_targets(a_follower);
  if a_target = evsrc.active_target(a_follower) then
    return 'active';
  end if;
  if not exists (select from evsrc.targets_of(a_follower) t where t.target = a_target) then
    return 'unknown';
  end if;
  insert into evsrc.builds as b (target, follower, number, discarded_at) values (a_target, a_follower, 0, clock_timestamp())
    on conflict (target) do update set discarded_at = coalesce(b.discarded_at, excluded.discarded_at);
  update evsrc.active_targets set previous = null where follower = a_follower and previous = a_target;
  delete from evsrc.checkpoints where target = a_target;
  delete from evsrc.workers where target = a_target;
  return 'discarded';
end $$;

-- Removes up to a_limit rows of each kind that a discarded target has left. Answers whether there may be more.
create function evsrc.remove_discarded(a_target text, a_limit integer) returns boolean language plpgsql volatile as $$
declare
  removed integer;
  more boolean;
begin
  if not exists (select from evsrc.builds where target = a_target and discarded_at is not null) then
    return false;
  end if;
  delete from evsrc.documents d where d.projection = a_target
    and d.key in (select k.key from evsrc.documents k where k.projection = a_target order by k.key limit a_limit);
  get diagnostics removed = row_count;
  more := removed >= a_limit;
  delete from evsrc.applied a where a.target = a_target
    and (a.partition, a.first) in (
      select f.partition, f.first from evsrc.applied f where f.target = a_target order by f.partition, f.first limit a_limit
    );
  get diagnostics removed = row_count;
  more := more or removed >= a_limit;
  delete from evsrc.parked p where p.target = a_target
    and p.stream in (select s.stream from evsrc.parked s where s.target = a_target order by s.stream limit a_limit);
  get diagnostics removed = row_count;
  return more or removed >= a_limit;
end $$;

insert into evsrc.migrations (migration_id, name) values (3, '0003_builds') on conflict do nothing;
