-- Generations of a consumer: a rebuild fills a new one beside the active one, cuts over to it, and discards the old one.
--
-- Functions that begin, cut over or discard take the lock of evsrc.active_generations on the consumer exclusively;
-- claim_partitions takes it shared.

create table evsrc.generations (
  generation text collate "C" primary key,
  consumer text collate "C" not null,
  -- The number of <consumer>~<number>; 0 for the generation that is named like the consumer.
  number integer not null,
  -- Null if no rebuild began it.
  started_at timestamptz,
  -- The generation that is named like the consumer is active from the start. It counts as building until it reaches this position.
  catch_up_position bigint not null default 0,
  -- When it last became the active generation.
  activated_at timestamptz,
  -- From then on every write to it is rejected.
  discarded_at timestamptz,
  unique (consumer, number)
);

create function evsrc.lock_generations(p_consumer text) returns void language sql volatile
set search_path = pg_catalog, pg_temp
as $$
  select pg_advisory_xact_lock('evsrc.active_generations'::regclass::oid::integer, hashtext(p_consumer))
$$;

-- Returns the generations of a consumer, each with its number of partitions, what they are divided by, and the lowest of their
-- checkpoints.
--   building   it was never active; or it is named like the consumer and has not reached its catch_up_position
--   active     queries read it, and the consumer writes to it
--   previous   it was active before the active one
--   retired    it was active before that
--   discarded  it takes no writes, and its rows are removed
create function evsrc.generations_of(p_consumer text)
returns table (
  generation text, status text, started_at timestamptz, activated_at timestamptz, partitions integer, partitioned_by text,
  "position" bigint
) language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with existing as (
    select stored.generation, stored.number, stored.started_at, stored.catch_up_position, stored.activated_at, stored.discarded_at
      from evsrc.generations stored where stored.consumer = p_consumer
    union all
    select p_consumer, 0, null, 0, null, null
      where not exists (select from evsrc.generations stored where stored.generation = p_consumer)
        and exists (select from evsrc.checkpoints checkpoint where checkpoint.generation = p_consumer)
  )
  select existing.generation,
      case
        when existing.discarded_at is not null then 'discarded'
        when existing.generation = evsrc.active_generation(p_consumer) then
          case when coalesce(progress."position", 0) < existing.catch_up_position then 'building' else 'active' end
        when existing.generation is not distinct from
          (select active.previous from evsrc.active_generations active where active.consumer = p_consumer) then 'previous'
        when existing.number > 0 and existing.activated_at is null then 'building'
        else 'retired'
      end,
      existing.started_at, existing.activated_at, coalesce(progress.partitions, 0), progress.partitioned_by,
      coalesce(progress."position", 0)
    from existing left join lateral (
      select max(checkpoint.partitions) as partitions, max(checkpoint.partitioned_by) as partitioned_by,
          min(checkpoint.position) as "position"
        from evsrc.checkpoints checkpoint
        where checkpoint.generation = existing.generation
    ) as progress on true
    order by existing.number
$$;

-- Returns the generation of a consumer that is building, or begins a new one. The first generation of a consumer that has never run
-- is the one that is named like it.
--   p_head  the high-water mark
create function evsrc.begin_generation(p_consumer text, p_head bigint) returns text language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  building text;
  next_number integer;
begin
  perform evsrc.lock_generations(p_consumer);
  select existing.generation into building from evsrc.generations_of(p_consumer) existing where existing.status = 'building';
  if found then
    return building;
  end if;
  perform evsrc.require_not_inline(p_consumer);
  select coalesce(
      max(stored.number),
      case when exists (select from evsrc.checkpoints checkpoint where checkpoint.generation = p_consumer) then 0 else -1 end
    ) + 1
    into next_number from evsrc.generations stored where stored.consumer = p_consumer;
  insert into evsrc.generations (generation, consumer, number, started_at, catch_up_position)
    values (
      case when next_number = 0 then p_consumer else p_consumer || '~' || next_number end, p_consumer, next_number, clock_timestamp(),
      case when next_number = 0 then p_head else 0 end
    )
    returning generation into building;
  return building;
end $$;

-- Makes p_to the active generation, unless readers would then see older documents than those already served: each partition must have
-- reached the checkpoint of the same partition of the active generation or, if their numbers of partitions or keys
-- differ, of every partition.
--   p_even_if_behind  cut over even so
--   p_hold            null, or for how long to keep an active generation that is ahead from moving, so that the other can catch up
-- Returns 'cut_over', 'behind' with the number of positions that are missing, or 'unknown' if p_to is not a generation of the
-- consumer that has run and is not discarded.
create function evsrc.cut_over(p_consumer text, p_to text, p_even_if_behind boolean, p_hold interval)
returns table (outcome text, missing bigint) language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  now_ timestamptz := clock_timestamp();
  current_generation text;
begin
  perform evsrc.lock_generations(p_consumer);
  current_generation := evsrc.active_generation(p_consumer);
  missing := 0;
  outcome := 'unknown';
  if not exists (
    select from evsrc.generations_of(p_consumer) existing
      where existing.generation = p_to and existing.status <> 'discarded' and existing.partitions > 0
  ) then
    return next;
    return;
  end if;
  outcome := 'cut_over';
  if current_generation = p_to then
    return next;
    return;
  end if;
  -- Waits for batches that are being written to either generation. Their owners then lose their epochs.
  perform from evsrc.checkpoints checkpoint where checkpoint.generation in (current_generation, p_to)
    order by checkpoint.generation, checkpoint.partition for update;
  if not p_even_if_behind then
    select coalesce(max(case when (serving.partitions, serving.partitioned_by) = (candidate.partitions, candidate.partitioned_by)
          then serving.position - candidate.position
        else (select max(ahead.position) from evsrc.checkpoints ahead where ahead.generation = current_generation) - candidate.position
      end), 0)
      into missing
      from evsrc.checkpoints candidate join evsrc.checkpoints serving on serving.generation = current_generation
        and (serving.partition = candidate.partition
          or (serving.partitions, serving.partitioned_by) <> (candidate.partitions, candidate.partitioned_by))
      where candidate.generation = p_to;
    if missing > 0 then
      if p_hold is not null then
        -- A lease without an owner.
        update evsrc.checkpoints checkpoint set epoch = checkpoint.epoch + 1, owner = null, leased_until = now_ + p_hold
          where checkpoint.generation = current_generation;
      end if;
      outcome := 'behind';
      return next;
      return;
    end if;
  end if;
  missing := 0;
  insert into evsrc.active_generations as active (consumer, generation, previous, activated_at)
    values (p_consumer, p_to, current_generation, now_)
    on conflict (consumer) do update
      set generation = excluded.generation, previous = excluded.previous, activated_at = excluded.activated_at;
  insert into evsrc.generations as stored (generation, consumer, number, activated_at) values (p_to, p_consumer, 0, now_)
    on conflict (generation) do update set activated_at = excluded.activated_at;
  update evsrc.checkpoints checkpoint set epoch = checkpoint.epoch + 1, owner = null, leased_until = null
    where checkpoint.generation in (current_generation, p_to);
  delete from evsrc.workers worker where worker.generation in (current_generation, p_to);
  return next;
end $$;

create function evsrc.reject_discarded() returns trigger language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if exists (
    select from evsrc.generations stored where stored.generation = new.generation and stored.discarded_at is not null
  ) then
    raise exception '% was discarded', new.generation using errcode = 'EV001', hint = 'Begin another rebuild.';
  end if;
  return new;
end $$;

create trigger checkpoints_not_discarded before insert on evsrc.checkpoints
  for each row execute function evsrc.reject_discarded();

-- Discards a generation that is not active: every later write to it is rejected. remove_discarded removes its rows.
-- Returns 'discarded', or 'active' or 'unknown' with nothing changed.
create function evsrc.discard_generation(p_consumer text, p_generation text) returns text language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  perform evsrc.lock_generations(p_consumer);
  if p_generation = evsrc.active_generation(p_consumer) then
    return 'active';
  end if;
  if not exists (select from evsrc.generations_of(p_consumer) existing where existing.generation = p_generation) then
    return 'unknown';
  end if;
  insert into evsrc.generations as stored (generation, consumer, number, discarded_at)
    values (p_generation, p_consumer, 0, clock_timestamp())
    on conflict (generation) do update set discarded_at = coalesce(stored.discarded_at, excluded.discarded_at);
  update evsrc.active_generations set previous = null where consumer = p_consumer and previous = p_generation;
  delete from evsrc.checkpoints where generation = p_generation;
  delete from evsrc.workers where generation = p_generation;
  return 'discarded';
end $$;

-- Removes up to p_limit rows of each kind of a discarded generation. Returns whether there may be more.
create function evsrc.remove_discarded(p_generation text, p_limit integer) returns boolean language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  removed integer;
  has_more boolean;
begin
  if not exists (select from evsrc.generations where generation = p_generation and discarded_at is not null) then
    return false;
  end if;
  delete from evsrc.documents document where document.generation = p_generation
    and document.key in (
      select next.key from evsrc.documents next where next.generation = p_generation order by next.key limit p_limit
    );
  get diagnostics removed = row_count;
  has_more := removed >= p_limit;
  delete from evsrc.delivery_log segment where segment.generation = p_generation
    and (segment.partition, segment.first) in (
      select next.partition, next.first from evsrc.delivery_log next
        where next.generation = p_generation order by next.partition, next.first limit p_limit
    );
  get diagnostics removed = row_count;
  has_more := has_more or removed >= p_limit;
  delete from evsrc.parked where parked.generation = p_generation
    and (parked.partition, parked.key) in (
      select next.partition, next.key from evsrc.parked next
        where next.generation = p_generation order by next.partition, next.key limit p_limit
    );
  get diagnostics removed = row_count;
  return has_more or removed >= p_limit;
end $$;

insert into evsrc.migrations (migration_id, name) values (3, '0003_generations') on conflict do nothing;
