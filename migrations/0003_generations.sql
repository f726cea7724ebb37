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
  -- The code that a rebuild builds it with, as the caller named it; null if the caller did not.
  build text,
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
  "position" bigint, build text
) language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with existing as (
    select stored.generation, stored.number, stored.started_at, stored.catch_up_position, stored.activated_at, stored.discarded_at,
        stored.build
      from evsrc.generations stored where stored.consumer = p_consumer
    union all
    select p_consumer, 0, null, 0, null, null, null
      where not exists (select from evsrc.generations stored where stored.generation = p_consumer)
        and exists (select from evsrc.checkpoints checkpoint where checkpoint.generation = p_consumer)
  )
  select existing.generation,
      case
        when existing.discarded_at is not null then 'discarded'
        when existing.generation =
          coalesce((select active.generation from evsrc.active_generations active where active.consumer = p_consumer), p_consumer)
        then
          case when coalesce(progress."position", 0) < existing.catch_up_position then 'building' else 'active' end
        when existing.generation is not distinct from
          (select active.previous from evsrc.active_generations active where active.consumer = p_consumer) then 'previous'
        when existing.number > 0 and existing.activated_at is null then 'building'
        else 'retired'
      end,
      existing.started_at, existing.activated_at, coalesce(progress.partitions, 0), progress.partitioned_by,
      coalesce(progress."position", 0), existing.build
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
--   p_head    the high-water mark
--   p_build   the code that builds a new one, as the caller names it
--   p_beside  begin one beside the first generation, even if that is building
create function evsrc.begin_generation(p_consumer text, p_head bigint, p_build text default null, p_beside boolean default false)
returns table (generation text, build text, is_new boolean) language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  next_number integer;
begin
  perform evsrc.lock_generations(p_consumer);
  perform evsrc.active_generation(p_consumer);
  select existing.generation, existing.build, false into generation, build, is_new
    from evsrc.generations_of(p_consumer) existing
    where existing.status = 'building' and not (p_beside and existing.generation = p_consumer)
    order by existing.generation = p_consumer limit 1;
  if found then
    return next;
    return;
  end if;
  perform evsrc.require_not_inline(p_consumer);
  perform evsrc.require_no_documents(p_consumer);
  select coalesce(
      max(stored.number),
      case when exists (select from evsrc.checkpoints checkpoint where checkpoint.generation = p_consumer) then 0 else -1 end
    ) + 1
    into next_number from evsrc.generations stored where stored.consumer = p_consumer;
  insert into evsrc.generations as stored (generation, consumer, number, started_at, catch_up_position, build)
    values (
      case when next_number = 0 then p_consumer else p_consumer || '~' || next_number end, p_consumer, next_number, clock_timestamp(),
      case when next_number = 0 then p_head else 0 end, p_build
    )
    returning stored.generation, stored.build, true into generation, build, is_new;
  return next;
end $$;

-- Returns the keys that are parked in p_to at events that the active generation has applied, or has parked later: documents of these
-- keys lack events that readers have seen. Keys of partitions that are divided by something else are not the same keys.
create function evsrc.newly_parked(p_current text, p_to text) returns table (key text, "position" bigint) language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select parked.key, min(parked.position)
    from evsrc.parked
      join evsrc.checkpoints candidate on candidate.generation = parked.generation and candidate.partition = parked.partition
    where parked.generation = p_to
      and parked.position <= (
        select max(greatest(serving.position, serving.former_to)) from evsrc.checkpoints serving
          where serving.generation = p_current
            and (serving.partition = candidate.partition
              or (serving.partitions, serving.partitioned_by) <> (candidate.partitions, candidate.partitioned_by))
      )
      and not exists (
        select from evsrc.parked also
          where also.generation = p_current and also.key = parked.key
            and (also.position, also.freeing) <= (parked.position, parked.freeing)
            and exists (
              select from evsrc.checkpoints serving
                where serving.generation = p_current and serving.partitioned_by = candidate.partitioned_by
            )
      )
    group by parked.key
$$;

-- Makes p_to the active generation, unless readers would then see older documents than those already served: each partition must have
-- reached the checkpoint of the same partition of the active generation or, if their numbers of partitions or keys
-- differ, of every partition.
--   p_even_if_behind  cut over even so
--   p_hold            null, or for how long to keep an active generation that is ahead from moving, so that the other can catch up
--   p_even_if_parked  cut over even if keys are parked in p_to at events that the active generation has applied
-- Returns 'cut_over', 'behind' with the number of positions that are missing, 'parked' with the number of such keys and the first
-- three of them, or 'unknown' if p_to is not a generation of the consumer that has run and is not discarded.
create function evsrc.cut_over(
  p_consumer text, p_to text, p_even_if_behind boolean, p_hold interval, p_even_if_parked boolean default false
)
returns table (outcome text, missing bigint, parked_keys bigint, first_parked text[]) language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  now_ timestamptz := clock_timestamp();
  current_generation text;
begin
  perform evsrc.lock_generations(p_consumer);
  current_generation := evsrc.active_generation(p_consumer);
  missing := 0;
  parked_keys := 0;
  first_parked := '{}';
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
  if not p_even_if_parked then
    select count(*), (array_agg(newly.key order by newly.position, newly.key))[1:3] into parked_keys, first_parked
      from evsrc.newly_parked(current_generation, p_to) newly;
    if parked_keys > 0 then
      outcome := 'parked';
      return next;
      return;
    end if;
  end if;
  if not p_even_if_behind then
    select coalesce(max(case when (serving.partitions, serving.partitioned_by) = (candidate.partitions, candidate.partitioned_by)
          then greatest(serving.position, serving.former_to) - candidate.position
        else (select max(greatest(ahead.position, ahead.former_to)) from evsrc.checkpoints ahead where ahead.generation = current_generation) - candidate.position
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

-- Raises an exception if one of these generations was discarded.
create function evsrc.require_not_discarded(p_generations text[]) returns void language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  discarded text;
begin
  select stored.generation into discarded from evsrc.generations stored
    where stored.generation = any (p_generations) and stored.discarded_at is not null limit 1;
  if found then
    perform evsrc.raise_discarded(discarded);
  end if;
end $$;

create function evsrc.reject_discarded() returns trigger language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform evsrc.require_not_discarded(array[new.generation]);
  return new;
end $$;

create function evsrc.reject_discarded_inline() returns trigger language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform evsrc.require_not_discarded(array[new.projection]);
  return new;
end $$;

create trigger checkpoints_not_discarded before insert on evsrc.checkpoints
  for each row execute function evsrc.reject_discarded();
create trigger inline_projections_not_discarded before insert on evsrc.inline_projections
  for each row execute function evsrc.reject_discarded_inline();

-- Discards a generation: every later write to it is rejected, and every read if it is the active one. remove_discarded removes its
-- rows. The registration of an inline projection is removed by the same transaction, before.
--   p_even_if  'active', 'previous' and 'leased': discard it even if it is the active generation, or the one that a rollback makes
--              active, or if a worker has leases on it
-- Returns 'discarded', or one of these or 'unknown' with nothing changed.
create function evsrc.discard_generation(p_consumer text, p_generation text, p_even_if text[] default '{previous,leased}')
returns text language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  now_ timestamptz := clock_timestamp();
  active evsrc.active_generations;
  is_known boolean;
  is_active boolean;
begin
  perform evsrc.lock_generations(p_consumer);
  if exists (select from evsrc.generations stored where stored.generation = p_generation and stored.discarded_at is not null) then
    return 'discarded';
  end if;
  is_known := exists (select from evsrc.generations_of(p_consumer) existing where existing.generation = p_generation)
    or exists (select from evsrc.inline_projections inline where inline.projection = p_generation);
  -- A program that ran a retired inline projection may have left documents.
  if not is_known and not (
    p_generation = p_consumer and exists (select from evsrc.documents document where document.generation = p_generation)
  ) then
    return 'unknown';
  end if;
  select * into active from evsrc.active_generations stored where stored.consumer = p_consumer;
  is_active := active.discarded_at is null and p_generation = coalesce(active.generation, p_consumer);
  if is_active and is_known and 'active' <> all (p_even_if) then
    return 'active';
  end if;
  if active.discarded_at is null and p_generation = active.previous and 'previous' <> all (p_even_if) then
    return 'previous';
  end if;
  -- Waits for batches that are being written, and keeps others out.
  perform from evsrc.checkpoints checkpoint where checkpoint.generation = p_generation order by checkpoint.partition for update;
  -- An owner from which a lease was taken may still be handling events until its end.
  if 'leased' <> all (p_even_if) and (
    exists (
      select from evsrc.checkpoints checkpoint where checkpoint.generation = p_generation and checkpoint.leased_until >= now_
    )
    or exists (select from evsrc.workers worker where worker.generation = p_generation and worker.expires_at >= now_)
  ) then
    return 'leased';
  end if;
  insert into evsrc.generations as stored (generation, consumer, number, discarded_at)
    values (p_generation, p_consumer, 0, now_)
    on conflict (generation) do update set discarded_at = excluded.discarded_at;
  if is_active then
    insert into evsrc.active_generations as stored (consumer, generation, discarded_at) values (p_consumer, p_generation, now_)
      on conflict (consumer) do update set discarded_at = excluded.discarded_at;
  end if;
  update evsrc.active_generations set previous = null where consumer = p_consumer and previous = p_generation;
  delete from evsrc.inline_gaps gap where gap.projection = p_generation;
  delete from evsrc.inline_projections inline where inline.projection = p_generation;
  delete from evsrc.checkpoints where generation = p_generation;
  delete from evsrc.workers where generation = p_generation;
  return 'discarded';
end $$;

-- Removes up to p_limit rows of each kind of a discarded generation. Returns whether there may be more.
--   p_parking_log  whether to remove the parking log too
create function evsrc.remove_discarded(p_generation text, p_limit integer, p_parking_log boolean default false)
returns boolean language plpgsql volatile
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
  has_more := has_more or removed >= p_limit;
  if p_parking_log then
    delete from evsrc.parking_log entry where entry.id in (
      select next.id from evsrc.parking_log next where next.generation = p_generation order by next.id limit p_limit
    );
    get diagnostics removed = row_count;
    has_more := has_more or removed >= p_limit;
  end if;
  return has_more;
end $$;

-- Returns a page of all generations of all consumers, in the order of their names: whatever has rows in a table.
--   p_max_count  documents, parked keys and entries of the parking log are counted up to this number, and one more
create function evsrc.list_generations(p_after text, p_limit integer, p_max_count integer)
returns table (
  generation text, consumer text, status text, is_inline boolean, is_active boolean, is_previous boolean, partitions integer,
  "position" bigint, documents integer, parked integer, parking_log integer, owners text[], last_activity_at timestamptz
) language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
  now_ timestamptz := clock_timestamp();
  last text collate "C" := p_after;
begin
  for found_number in 1 .. p_limit loop
    -- One lookup in an index of each table.
    select min(next.generation) into last from (
      select min(stored.generation) as generation from evsrc.generations stored where stored.generation > last
      union all select min(stored.generation) from evsrc.checkpoints stored where stored.generation > last
      union all select min(stored.projection) from evsrc.inline_projections stored where stored.projection > last
      union all select min(stored.generation) from evsrc.documents stored where stored.generation > last
      union all select min(stored.generation) from evsrc.parking_log stored where stored.generation > last
    ) as next;
    exit when last is null;
    generation := last;
    consumer := split_part(last, '~', 1);
    is_inline := exists (select from evsrc.inline_projections stored where stored.projection = last);
    select existing.status into status from evsrc.generations_of(list_generations.consumer) existing where existing.generation = last;
    status := coalesce(status, case when is_inline then 'active' else 'retired' end);
    is_active := status in ('active', 'building') and last = coalesce(
      (select active.generation from evsrc.active_generations active where active.consumer = list_generations.consumer),
      list_generations.consumer
    );
    is_previous := exists (
      select from evsrc.active_generations active
        where active.consumer = list_generations.consumer and active.previous = last and active.discarded_at is null
    );
    select count(*), min(stored.position), greatest(max(stored.heartbeat_at), max(stored.advanced_at))
      into partitions, list_generations."position", last_activity_at from evsrc.checkpoints stored where stored.generation = last;
    select count(*) into documents
      from (select from evsrc.documents stored where stored.generation = last limit p_max_count + 1) as counted;
    select count(*) into parked
      from (select from evsrc.parked stored where stored.generation = last limit p_max_count + 1) as counted;
    select count(*) into parking_log
      from (select from evsrc.parking_log stored where stored.generation = last limit p_max_count + 1) as counted;
    owners := array(
      select stored.owner from evsrc.checkpoints stored
        where stored.generation = last and stored.owner is not null and stored.leased_until >= now_
      union select stored.owner from evsrc.workers stored where stored.generation = last and stored.expires_at >= now_
      order by 1
    );
    return next;
  end loop;
end $$;

insert into evsrc.migrations (migration_id, name) values (3, '0003_generations') on conflict do nothing;
