-- Builds of a consumer's generation beside the active one, the switch from one to the other, and their end.
--
-- Whoever begins, switches or discards takes evsrc.active_generations' lock on the consumer exclusively; who claims partitions has it shared.

create table evsrc.generations (
  generation text collate "C" primary key,
  consumer text collate "C" not null,
  -- Of <consumer>~<number>; 0 for the consumer's own name.
  number integer not null,
  -- Null for one that was not begun as a build.
  started_at timestamptz,
  -- The consumer's own name is active from the start; it counts as a build until it has come this far.
  goal bigint not null default 0,
  -- When it last became the active one.
  switched_at timestamptz,
  -- From then on nothing may be written to it.
  discarded_at timestamptz,
  unique (consumer, number)
);

create function evsrc.lock_generations(a_consumer text) returns void language sql volatile as $$
  select pg_advisory_xact_lock('evsrc.active_generations'::regclass::oid::integer, hashtext(a_consumer))
$$;

-- The generations of a consumer, with their partitions and how far all of these have come.
--   building   never was active; or it is the consumer's own name, and has not reached its goal
--   active     is read, and kept up to date
--   previous   was active before
--   retired    was active before that
--   discarded  is gone, or will be
create function evsrc.generations_of(a_consumer text)
returns table (
  generation text, status text, started_at timestamptz, switched_at timestamptz, partitions integer, "position" bigint
) language sql stable as $$
  with known as (
    select b.generation, b.number, b.started_at, b.goal, b.switched_at, b.discarded_at
      from evsrc.generations b where b.consumer = a_consumer
    union all
    select a_consumer, 0, null, 0, null, null
      where not exists (select from evsrc.generations b where b.generation = a_consumer)
        and exists (select from evsrc.checkpoints c where c.generation = a_consumer)
  )
  select k.generation,
      case
        when k.discarded_at is not null then 'discarded'
        when k.generation = evsrc.active_generation(a_consumer) then
          case when coalesce(c."position", 0) < k.goal then 'building' else 'active' end
        when k.generation = (select a.previous from evsrc.active_generations a where a.consumer = a_consumer) then 'previous'
        when k.number > 0 and k.switched_at is null then 'building'
        else 'retired'
      end,
      k.started_at, k.switched_at, coalesce(c.partitions, 0), coalesce(c."position", 0)
    from known k left join lateral (
      select max(p.partitions) as partitions, min(p.position) as "position" from evsrc.checkpoints p where p.generation = k.generation
    ) as c on true
    order by k.number
$$;

-- The build of a consumer that is not finished, or a new one. A consumer that has never run is its own first build.
--   a_head  how far the log goes now
create function evsrc.begin_generation(a_consumer text, a_head bigint) returns text language plpgsql volatile as $$
declare
  found_one text;
  n integer;
begin
  perform evsrc.lock_generations(a_consumer);
  select t.generation into found_one from evsrc.generations_of(a_consumer) t where t.status = 'building';
  if found then
    return found_one;
  end if;
  select coalesce(max(b.number), case when exists (select from evsrc.checkpoints c where c.generation = a_consumer) then 0 else -1 end) + 1
    into n from evsrc.generations b where b.consumer = a_consumer;
  insert into evsrc.generations (generation, consumer, number, started_at, goal)
    values (
      case when n = 0 then a_consumer else a_consumer || '~' || n end, a_consumer, n, clock_timestamp(),
      case when n = 0 then a_head else 0 end
    )
    returning generation into found_one;
  return found_one;
end $$;

-- Makes a_to the active generation, unless a reader would then see documents that are older than those it may have seen: each partition must
-- have come as far as the active generation's same one or, where their numbers differ, as far as any.
--   a_behind  switch even so
--   a_hold    null, or for how long to let nobody move the active generation if it is ahead, so that the other can reach it
-- Answers 'switched', 'behind' with the positions that are missing, or 'unknown' when a_to is no generation of the consumer that has run and has
-- not been discarded.
create function evsrc.cut_over(a_consumer text, a_to text, a_behind boolean, a_hold interval)
returns table (outcome text, missing bigint) language plpgsql volatile as $$
declare
  now_ timestamptz := clock_timestamp();
  was text;
begin
  perform evsrc.lock_generations(a_consumer);
  was := evsrc.active_generation(a_consumer);
  missing := 0;
  outcome := 'unknown';
  if not exists (select from evsrc.generations_of(a_consumer) t where t.generation = a_to and t.status <> 'discarded' and t.partitions > 0) then
    return next;
    return;
  end if;
  outcome := 'switched';
  if was = a_to then
    return next;
    return;
  end if;
  -- Whoever is writing a batch to either ends first, and then has no right to write another.
  perform from evsrc.checkpoints c where c.generation in (was, a_to) order by c.generation, c.partition for update;
  if not a_behind then
    select coalesce(max(case when a.partitions = b.partitions then a.position - b.position
        else (select max(m.position) from evsrc.checkpoints m where m.generation = was) - b.position end), 0)
      into missing
      from evsrc.checkpoints b join evsrc.checkpoints a on a.generation = was and (a.partition = b.partition or a.partitions <> b.partitions)
      where b.generation = a_to;
    if missing > 0 then
      if a_hold is not null then
        update evsrc.checkpoints c set epoch = c.epoch + 1, owner = null, leased_until = now_ + a_hold where c.generation = was;
      end if;
      outcome := 'behind';
      return next;
      return;
    end if;
  end if;
  missing := 0;
  insert into evsrc.active_generations as t (consumer, generation, previous, switched_at) values (a_consumer, a_to, was, now_)
    on conflict (consumer) do update set generation = excluded.generation, previous = excluded.previous, switched_at = excluded.switched_at;
  insert into evsrc.generations as b (generation, consumer, number, switched_at) values (a_to, a_consumer, 0, now_)
    on conflict (generation) do update set switched_at = excluded.switched_at;
  update evsrc.checkpoints c set epoch = c.epoch + 1, owner = null, leased_until = null where c.generation in (was, a_to);
  delete from evsrc.workers w where w.generation in (was, a_to);
  return next;
end $$;

create function evsrc.reject_discarded() returns trigger language plpgsql as $$
begin
  if exists (select from evsrc.generations b where b.generation = new.generation and b.discarded_at is not null) then
    raise exception '% was discarded', new.generation using errcode = 'EV001', hint = 'Begin another build.';
  end if;
  return new;
end $$;

create trigger checkpoints_not_discarded before insert on evsrc.checkpoints
  for each row execute function evsrc.reject_discarded();

-- Ends a generation that is not active: nobody may write to it from now on. What it has written is still there, for remove_discarded.
-- Answers 'discarded', 'active' or 'unknown'; with nothing changed but for the first.
create function evsrc.discard_generation(a_consumer text, a_generation text) returns text language plpgsql volatile as $$
begin
  perform evsrc.lock_generations(a_consumer);
  if a_generation = evsrc.active_generation(a_consumer) then
    return 'active';
  end if;
  if not exists (select from evsrc.generations_of(a_consumer) t where t.generation = a_generation) then
    return 'unknown';
  end if;
  insert into evsrc.generations as b (generation, consumer, number, discarded_at) values (a_generation, a_consumer, 0, clock_timestamp())
    on conflict (generation) do update set discarded_at = coalesce(b.discarded_at, excluded.discarded_at);
  update evsrc.active_generations set previous = null where consumer = a_consumer and previous = a_generation;
  delete from evsrc.checkpoints where generation = a_generation;
  delete from evsrc.workers where generation = a_generation;
  return 'discarded';
end $$;

-- Removes up to a_limit rows of each kind that a discarded generation has left. Answers whether there may be more.
create function evsrc.remove_discarded(a_generation text, a_limit integer) returns boolean language plpgsql volatile as $$
declare
  removed integer;
  more boolean;
begin
  if not exists (select from evsrc.generations where generation = a_generation and discarded_at is not null) then
    return false;
  end if;
  delete from evsrc.documents d where d.generation = a_generation
    and d.key in (select k.key from evsrc.documents k where k.generation = a_generation order by k.key limit a_limit);
  get diagnostics removed = row_count;
  more := removed >= a_limit;
  delete from evsrc.delivery_log a where a.generation = a_generation
    and (a.partition, a.first) in (
      select f.partition, f.first from evsrc.delivery_log f where f.generation = a_generation order by f.partition, f.first limit a_limit
    );
  get diagnostics removed = row_count;
  more := more or removed >= a_limit;
  delete from evsrc.parked p where p.generation = a_generation
    and p.stream in (select s.stream from evsrc.parked s where s.generation = a_generation order by s.stream limit a_limit);
  get diagnostics removed = row_count;
  return more or removed >= a_limit;
end $$;

insert into evsrc.migrations (migration_id, name) values (3, '0003_generations') on conflict do nothing;
