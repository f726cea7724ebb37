-- Read models and subscriptions: documents, how far each consumer of the log has come, what it has applied, what it has parked.
--
-- A consumer is a projection, `<name>@<version>`, or a subscription. What it writes belongs to a generation: the consumer's own name, or a build
-- of it, `<name>@<version>~<number>`, of which one is active.

-- Which generation of a consumer is read and kept up to date; without a row it is the consumer's own name.
create table evsrc.active_generations (
  consumer text collate "C" primary key,
  generation text collate "C" not null,
  previous text collate "C",
  switched_at timestamptz not null default clock_timestamp()
);

create function evsrc.active_generation(a_consumer text) returns text language sql stable as $$
  select coalesce((select generation from evsrc.active_generations where consumer = a_consumer), a_consumer)
$$;

create table evsrc.documents (
  generation text collate "C" not null,
  key text collate "C" not null,
  -- json for the same reason as events: every document that JSON can hold.
  document json not null,
  -- The indexed fields as <name>=<JSON>, to filter by.
  indexed text[] collate "C" not null default '{}',
  -- Another with every write, and never one that was there before.
  revision bigint not null,
  primary key (generation, key)
);

create index documents_indexed on evsrc.documents using gin (indexed) where indexed <> '{}';

create sequence evsrc.revisions as bigint;

-- Those who would work on a generation, whether or not they own a partition of it.
create table evsrc.workers (
  generation text collate "C" not null,
  owner text collate "C" not null,
  alive_until timestamptz not null,
  primary key (generation, owner)
);

-- How far each partition of a generation has come.
create table evsrc.checkpoints (
  generation text collate "C" not null,
  partition integer not null,
  partitions integer not null,
  position bigint not null default 0,
  -- How many events were applied, and the exclusive or of their ids' digests.
  applied bigint not null default 0,
  digest bigint not null default 0,
  -- Grows with every change of owner; a write under an older epoch is refused.
  epoch bigint not null default 0,
  owner text collate "C",
  -- Without an owner: until when a cut-over holds the partition, so that no worker may claim it.
  leased_until timestamptz,
  -- When its owner last gave a heartbeat, and when it last applied an event.
  heartbeat_at timestamptz not null default clock_timestamp(),
  applied_at timestamptz,
  primary key (generation, partition)
);

-- What was applied, in segments of up to 256 events or a page: a segment reaches from its first position to the next one's.
create table evsrc.delivery_log (
  generation text collate "C" not null,
  partition integer not null,
  first bigint not null,
  events integer not null,
  digest bigint not null,
  primary key (generation, partition, first)
);

-- Streams that a consumer has parked, from an event on that it could not process.
create table evsrc.parked (
  generation text collate "C" not null,
  partition integer not null,
  stream text collate "C" not null,
  version bigint not null,
  position bigint not null,
  event_id uuid not null,
  type text collate "C" not null,
  error text not null,
  attempts integer not null default 1,
  parked_at timestamptz not null default clock_timestamp(),
  -- What somebody wants done with it.
  request text check (request in ('retry', 'skip')),
  requested_by text,
  request_reason text,
  primary key (generation, stream)
);

-- What became of them, for good.
create table evsrc.parking_log (
  id bigint generated always as identity primary key,
  generation text collate "C" not null,
  partition integer not null,
  stream text collate "C" not null,
  position bigint not null,
  event_id uuid not null,
  action text not null check (action in ('parked', 'retried', 'skipped', 'failed')),
  detail text,
  actor text,
  at timestamptz not null default clock_timestamp()
);

create index parking_log_target on evsrc.parking_log (generation, position);

-- A heartbeat of a_owner, who would work on a consumer's active generation, or on a_generation: renews its leases, and takes its assignment_size of the
-- partitions that are free or expired. One who only renews only renews, and does not count. Answers the generation, the assignment_size, in how many milliseconds another's lease ends, and a row for each partition that is a_owner's; one without a
-- partition when there is none.
create function evsrc.claim_partitions(
  a_consumer text, a_generation text, a_owner text, a_partitions integer, a_lease interval, a_renew_only boolean
) returns table (
  generation text, assignment_size integer, next_lease_ends_in double precision, partition integer, epoch bigint, "position" bigint, requested boolean
) language plpgsql volatile as $$
#variable_conflict use_column
declare
  now_ timestamptz := clock_timestamp();
  mine integer;
  other integer;
begin
  -- Not while somebody switches generations: a lease on the old one would be waited for in vain.
  perform pg_advisory_xact_lock_shared('evsrc.active_generations'::regclass::oid::integer, hashtext(a_consumer));
  generation := coalesce(a_generation, evsrc.active_generation(a_consumer));
  if a_renew_only then
    delete from evsrc.workers w where w.generation = claim_partitions.generation and w.owner = a_owner;
  else
    insert into evsrc.workers as w (generation, owner, alive_until) values (generation, a_owner, now_ + a_lease)
      on conflict on constraint workers_pkey do update set alive_until = excluded.alive_until;
  end if;
  delete from evsrc.workers w where w.generation = claim_partitions.generation and w.alive_until < now_ - interval '1 minute';
  if not exists (select from evsrc.checkpoints c where c.generation = claim_partitions.generation) then
    perform pg_advisory_xact_lock('evsrc.checkpoints'::regclass::oid::integer, hashtext(generation));
    insert into evsrc.checkpoints (generation, partition, partitions)
      select claim_partitions.generation, p, a_partitions from generate_series(0, a_partitions - 1) as p
        where not exists (select from evsrc.checkpoints c where c.generation = claim_partitions.generation)
      on conflict do nothing;
  end if;
  select c.partitions into other from evsrc.checkpoints c
    where c.generation = claim_partitions.generation and c.partitions <> a_partitions limit 1;
  if found then
    raise exception '% was begun with % partitions, not with %', generation, other, a_partitions using errcode = 'EV001',
      hint = 'Rebuild it, or raise its version.';
  end if;
  select ceil(a_partitions::numeric / greatest(1, count(*))) into assignment_size
    from evsrc.workers w where w.generation = claim_partitions.generation and w.alive_until >= now_;
  update evsrc.checkpoints c set leased_until = now_ + a_lease, heartbeat_at = now_
    where c.generation = claim_partitions.generation and c.owner = a_owner;
  get diagnostics mine = row_count;
  if mine < assignment_size and not a_renew_only then
    update evsrc.checkpoints c
      set owner = a_owner, epoch = c.epoch + 1, leased_until = now_ + a_lease, heartbeat_at = now_
      from (
        select f.partition from evsrc.checkpoints f
          where f.generation = claim_partitions.generation and (f.leased_until is null or f.leased_until < now_)
          order by f.partition limit assignment_size - mine
          for update skip locked
      ) as free
      where c.generation = claim_partitions.generation and c.partition = free.partition;
  end if;
  select 1000 * extract(epoch from min(c.leased_until) - now_) into next_lease_ends_in from evsrc.checkpoints c
    where c.generation = claim_partitions.generation and c.owner is distinct from a_owner;
  return query
    select claim_partitions.generation, claim_partitions.assignment_size, claim_partitions.next_lease_ends_in, c.partition, c.epoch, c.position,
        exists (select from evsrc.parked p
          where p.generation = c.generation and p.partition = c.partition and p.request is not null)
      from evsrc.checkpoints c
      where c.generation = claim_partitions.generation and c.owner = a_owner
      order by c.partition;
  if not found then
    return next;
  end if;
end $$;

-- Gives up what a_owner has of a generation, all or one partition; nothing can be written under its epochs any more.
create function evsrc.release_partitions(a_generation text, a_owner text, a_partition integer)
returns void language plpgsql volatile as $$
begin
  -- In one order for all who lock several.
  perform from evsrc.checkpoints where generation = a_generation and owner = a_owner order by partition for update;
  update evsrc.checkpoints set epoch = epoch + 1, owner = null, leased_until = null
    where generation = a_generation and owner = a_owner and (a_partition is null or partition = a_partition);
  if a_partition is null then
    delete from evsrc.workers where generation = a_generation and owner = a_owner;
  end if;
end $$;

-- Writes and removes documents.
--   put_indexed  for each put document its entries, joined by the unit separator (U+001F)
create function evsrc.write_documents(
  a_generation text, put_key text[], put_document text[], put_indexed text[], removed_key text[]
) returns void language plpgsql volatile as $$
begin
  if cardinality(removed_key) > 0 then
    delete from evsrc.documents where generation = a_generation and key = any (removed_key);
  end if;
  if cardinality(put_key) > 0 then
    insert into evsrc.documents (generation, key, document, indexed, revision)
      select a_generation, k, d::json, coalesce(string_to_array(nullif(i, ''), E'\x1f'), '{}'), nextval('evsrc.revisions')
        from unnest(put_key, put_document, put_indexed) as u(k, d, i)
        order by k
      on conflict (generation, key) do update
        set document = excluded.document, indexed = excluded.indexed, revision = excluded.revision;
  end if;
end $$;

-- Moves a checkpoint from a_from to a_to and writes the documents of the events between, if a_epoch is still the owner's.
--   s_*  what was applied, in segments in order
-- Answers `advanced`, or with nothing written `lost` when the partition is another's by now.
create function evsrc.advance_partition(
  a_generation text, a_partition integer, a_epoch bigint, a_from bigint, a_to bigint,
  put_key text[], put_document text[], put_indexed text[], removed_key text[],
  s_first bigint[], s_events integer[], s_digest bigint[]
) returns text language plpgsql volatile as $$
declare
  now_ timestamptz := clock_timestamp();
  n integer := coalesce((select sum(e) from unnest(s_events) as e), 0);
  start integer := 1;
begin
  update evsrc.checkpoints
    set position = a_to, heartbeat_at = now_, applied = applied + n,
      digest = digest # coalesce((select bit_xor(d) from unnest(s_digest) as d), 0),
      applied_at = case when n > 0 then now_ else applied_at end
    where generation = a_generation and partition = a_partition and epoch = a_epoch and position = a_from;
  if not found then
    return 'lost';
  end if;
  if n > 0 then
    -- The first segment goes on with the last one there is, while that is small.
    update evsrc.delivery_log a set events = a.events + s_events[1], digest = a.digest # s_digest[1]
      where a.generation = a_generation and a.partition = a_partition and a.events + s_events[1] <= 256
        and a.first = (select max(m.first) from evsrc.delivery_log m where m.generation = a_generation and m.partition = a_partition);
    if found then
      start := 2;
    end if;
    insert into evsrc.delivery_log (generation, partition, first, events, digest)
      select a_generation, a_partition, u.f, u.e, u.d
        from unnest(s_first[start:], s_events[start:], s_digest[start:]) as u(f, e, d);
  end if;
  perform evsrc.write_documents(a_generation, put_key, put_document, put_indexed, removed_key);
  return 'advanced';
end $$;

-- The same where other partitions write the same documents: only if those that the new ones were made of are as they were read.
--   read_*  these documents; revision 0 for one that was not there
-- Answers `changed`, with nothing written, if one is not.
create function evsrc.advance_partition_if_unchanged(
  a_generation text, a_partition integer, a_epoch bigint, a_from bigint, a_to bigint,
  read_key text[], read_revision bigint[],
  put_key text[], put_document text[], put_indexed text[], removed_key text[],
  s_first bigint[], s_events integer[], s_digest bigint[]
) returns text language plpgsql volatile as $$
declare
  fresh text[];
  inserted integer;
  outcome text;
begin
  -- What is there is locked, in one order for all; what is not there cannot be, so it is inserted, and another's insert noticed.
  perform from evsrc.documents where generation = a_generation and key = any (read_key) order by key for update;
  if exists (
    select from unnest(read_key, read_revision) as r(k, v)
      left join evsrc.documents d on d.generation = a_generation and d.key = r.k
      where coalesce(d.revision, 0) <> r.v
  ) then
    return 'changed';
  end if;
  select coalesce(array_agg(k), '{}') into fresh
    from unnest(read_key, read_revision) as r(k, v) where v = 0 and k = any (put_key);
  insert into evsrc.documents (generation, key, document, indexed, revision)
    select a_generation, k, d::json, coalesce(string_to_array(nullif(i, ''), E'\x1f'), '{}'), nextval('evsrc.revisions')
      from unnest(put_key, put_document, put_indexed) as u(k, d, i)
      where k = any (fresh)
      order by k
    on conflict (generation, key) do nothing;
  get diagnostics inserted = row_count;
  if inserted < cardinality(fresh) then
    raise exception 'changed' using errcode = 'EV002';
  end if;
  select evsrc.advance_partition(a_generation, a_partition, a_epoch, a_from, a_to,
      coalesce(array_agg(k), '{}'), coalesce(array_agg(d), '{}'), coalesce(array_agg(i), '{}'),
      -- What was not there is not locked: another may have written it by now, and that is not ours to remove.
      array(select k from unnest(read_key, read_revision) as r(k, v) where v <> 0 and k = any (removed_key)),
      s_first, s_events, s_digest)
    into outcome
    from unnest(put_key, put_document, put_indexed) as u(k, d, i)
    where k <> all (fresh);
  if outcome <> 'advanced' then
    raise exception '%', outcome using errcode = 'EV002';
  end if;
  return outcome;
exception when sqlstate 'EV002' then
  return sqlerrm;
end $$;

-- Adds events to what was applied that lie behind the checkpoint, as those of a stream that was parked.
create function evsrc.record_late_delivery(a_generation text, a_partition integer, l_position bigint[], l_digest bigint[])
returns void language plpgsql volatile as $$
declare
  place bigint;
  i integer;
begin
  update evsrc.checkpoints
    set applied = applied + cardinality(l_position), digest = digest # coalesce((select bit_xor(d) from unnest(l_digest) as d), 0),
      applied_at = clock_timestamp()
    where generation = a_generation and partition = a_partition;
  for i in 1 .. cardinality(l_position) loop
    select max(first) into place from evsrc.delivery_log
      where generation = a_generation and partition = a_partition and first <= l_position[i];
    insert into evsrc.delivery_log as a (generation, partition, first, events, digest)
      values (a_generation, a_partition, coalesce(place, l_position[i]), 1, l_digest[i])
      on conflict (generation, partition, first) do update set events = a.events + 1, digest = a.digest # excluded.digest;
  end loop;
end $$;

-- Reads documents to change them in this transaction: whoever else changes them waits until it has ended.
create function evsrc.lock_documents(a_generation text, a_keys text[])
returns table (key text, document json, revision bigint) language plpgsql volatile as $$
#variable_conflict use_column
begin
  perform pg_advisory_xact_lock('evsrc.documents'::regclass::oid::integer, h)
    from (select distinct hashtext(a_generation || E'\x1f' || k) as h from unnest(a_keys) k order by h) as sorted;
  return query select d.key, d.document, d.revision from evsrc.documents d where d.generation = a_generation and d.key = any (a_keys);
end $$;

-- Sets streams aside: each from its event on that could not be processed.
create function evsrc.park(
  a_generation text, a_partition integer, p_stream text[], p_version bigint[], p_position bigint[], p_id uuid[], p_type text[],
  p_error text[]
) returns void language sql volatile as $$
  insert into evsrc.parked (generation, partition, stream, version, position, event_id, type, error)
    select a_generation, a_partition, s, v, p, i, t, e
      from unnest(p_stream, p_version, p_position, p_id, p_type, p_error) as u(s, v, p, i, t, e);
  insert into evsrc.parking_log (generation, partition, stream, position, event_id, action, detail)
    select a_generation, a_partition, s, p, i, 'parked', e
      from unnest(p_stream, p_position, p_id, p_error) as u(s, p, i, e);
$$;

-- What a retry or a skip has come to.
--   n_*  empty, or the event at which the stream is parked again
create function evsrc.unpark(
  a_generation text, a_partition integer, a_stream text, a_action text,
  n_version bigint[], n_position bigint[], n_id uuid[], n_type text[], n_error text[]
) returns void language plpgsql volatile as $$
declare
  was evsrc.parked;
begin
  delete from evsrc.parked where generation = a_generation and stream = a_stream returning * into was;
  if not found then
    return;
  end if;
  insert into evsrc.parking_log (generation, partition, stream, position, event_id, action, detail, actor)
    values (a_generation, a_partition, a_stream, was.position, was.event_id, a_action,
      case when a_action = 'failed' then n_error[1] else was.request_reason end, was.requested_by);
  if n_position[1] = was.position then
    insert into evsrc.parked (generation, partition, stream, version, position, event_id, type, error, attempts, parked_at)
      values (a_generation, a_partition, a_stream, was.version, was.position, was.event_id, was.type, n_error[1], was.attempts + 1,
        was.parked_at);
  elsif n_position[1] is not null then
    perform evsrc.park(a_generation, a_partition, array[a_stream], n_version, n_position, n_id, n_type, n_error);
  end if;
end $$;

insert into evsrc.migrations (migration_id, name) values (2, '0002_projections') on conflict do nothing;
