-- Projections and subscriptions: documents, the checkpoints of consumers, their delivery logs, and their parked keys.
--
-- A consumer is a projection, `<name>@<version>`, or a subscription. It writes to a generation: the one named like the consumer, or
-- `<name>@<version>~<number>`, which a rebuild begins. One generation of a consumer is active.

-- The active generation of a consumer. A consumer without a row uses the generation that is named like it.
create table evsrc.active_generations (
  consumer text collate "C" primary key,
  generation text collate "C" not null,
  previous text collate "C",
  activated_at timestamptz not null default clock_timestamp(),
  -- From then on the consumer can neither be run nor read.
  discarded_at timestamptz
);

-- Raises an exception: nothing may run or read a generation that was discarded.
create function evsrc.raise_discarded(p_generation text) returns text language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  raise exception '% was discarded', p_generation using errcode = 'EV004', constraint = p_generation;
end $$;

create function evsrc.active_generation(p_consumer text) returns text language sql stable
return coalesce(
  (
    select case when active.discarded_at is null then active.generation else evsrc.raise_discarded(active.generation) end
      from evsrc.active_generations active where active.consumer = p_consumer
  ),
  p_consumer
);

create table evsrc.documents (
  generation text collate "C" not null,
  key text collate "C" not null,
  -- json, not jsonb, for the same reason as in events.
  document json not null,
  -- The names of the indexes as ,<name>=<form>,<name>=<form>, and then one entry per field, <name>=<value>. Empty without an index. Entries are texts
  -- whose order is that of the values. A name contains no comma and no equals sign.
  indexed text[] collate "C" not null default '{}',
  -- Every write sets a new value, which no document has had before.
  revision bigint not null,
  -- The stream that feeds the document, of a projection with several partitions by stream. Otherwise null.
  stream text collate "C",
  primary key (generation, key)
);

-- Finds the documents that were written by code with other indexes.
create index documents_names on evsrc.documents (generation, coalesce(indexed[1], ''));

-- The entries of documents.indexed, to find documents by, in order. Triggers keep it, whatever writes to documents.
create table evsrc.document_entries (
  generation text collate "C" not null,
  entry text collate "C" not null,
  key text collate "C" not null,
  primary key (generation, entry, key)
);

create function evsrc.update_document_entries() returns trigger language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  -- The first element is no entry. Most updates leave most entries as they are.
  if tg_op <> 'INSERT' then
    delete from evsrc.document_entries stored
      using unnest(old.indexed[2:]) as gone(entry)
      where stored.generation = old.generation and stored.key = old.key and stored.entry = gone.entry
        and (tg_op = 'DELETE' or gone.entry <> all (new.indexed[2:]) or new.generation <> old.generation or new.key <> old.key);
  end if;
  if tg_op <> 'DELETE' then
    insert into evsrc.document_entries (generation, entry, key)
      select new.generation, added.entry, new.key from unnest(new.indexed[2:]) as added(entry)
        where tg_op = 'INSERT' or added.entry <> all (old.indexed[2:]) or new.generation <> old.generation or new.key <> old.key;
  end if;
  return null;
end $$;

create trigger documents_inserted after insert on evsrc.documents
  for each row when (new.indexed <> '{}') execute function evsrc.update_document_entries();
create trigger documents_updated after update on evsrc.documents
  for each row when (old.indexed <> new.indexed or old.key <> new.key or old.generation <> new.generation)
  execute function evsrc.update_document_entries();
create trigger documents_deleted after delete on evsrc.documents
  for each row when (old.indexed <> '{}') execute function evsrc.update_document_entries();

create function evsrc.empty_document_entries() returns trigger language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  delete from evsrc.document_entries;
  return null;
end $$;

create trigger documents_truncated after truncate on evsrc.documents
  for each statement execute function evsrc.empty_document_entries();

-- Returns whether a document's entries satisfy all conditions; see list_documents.
create function evsrc.has_entries(p_indexed text[], p_numbers integer[], p_lowers text[], p_uppers text[], p_conditions integer)
returns boolean language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  return p_conditions = 0 or p_conditions = (
    select count(distinct range.number)
      from unnest(p_numbers, p_lowers, p_uppers) as range(number, lower, upper)
        join unnest(p_indexed) as own(entry) on own.entry collate "C" >= range.lower and own.entry collate "C" < range.upper
  );
end $$;

-- Returns a page of the documents of a generation, each with the entry that it is ordered by.
--   p_from, p_to                 the entries to order by, from p_from and below p_to; null to order by key
--   p_after_entry, p_after_key   the place after which the page begins, in the direction of the order; the entry is '' to order by key
--   p_numbers, p_lowers, p_uppers  the conditions: one element per range of entries, from lower and below upper. A document must have
--                                an entry in one range of each number. Numbers count from 1.
--   p_collected                  how many documents to sort at most
-- Up to p_collected documents that satisfy one condition are all read and sorted. If every condition is satisfied by more, documents
-- are read in order until the page is full. The plans must not depend on estimates: a page would read all documents.
create function evsrc.list_documents(
  p_generation text, p_from text, p_to text, p_is_descending boolean, p_after_entry text, p_after_key text, p_limit integer,
  p_numbers integer[], p_lowers text[], p_uppers text[], p_collected integer
) returns table (key text, document json, revision bigint, entry text) language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  conditions integer := coalesce((select max(number) from unnest(p_numbers) as number), 0);
  one record;
  matches integer;
  fewest integer;
  rarest integer;
  -- The rarest condition that one entry satisfies: the documents of an entry are in the order of their keys.
  fewest_equal integer;
  equal_lower text;
begin
  for condition_number in 1 .. conditions loop
    matches := 0;
    for one in
      select range.lower, range.upper from unnest(p_numbers, p_lowers, p_uppers) as range(number, lower, upper)
        where range.number = condition_number
    loop
      matches := matches + (
        select count(*) from (
          select from evsrc.document_entries stored
            where stored.generation = p_generation and stored.entry >= one.lower and stored.entry < one.upper
            limit p_collected + 1 - matches
        ) as found
      );
      exit when matches > p_collected;
    end loop;
    if fewest is null or matches < fewest then
      fewest := matches;
      rarest := condition_number;
    end if;
    if (fewest_equal is null or matches < fewest_equal)
      and (select count(*) from unnest(p_numbers) as number where number = condition_number) = 1
      and one.upper = one.lower || E'\x01'
    then
      fewest_equal := matches;
      equal_lower := one.lower;
    end if;
  end loop;

  if fewest <= p_collected then
    return query
      select matching.key, matching.document, matching.revision, matching.entry from (
        select document.key, document.document, document.revision, case when p_from is null then '' else (
            select own.entry from unnest(document.indexed) as own(entry) where own.entry >= p_from and own.entry < p_to
          ) end as entry
          from unnest(p_numbers, p_lowers, p_uppers) as range(number, lower, upper)
            join evsrc.document_entries stored
              on stored.generation = p_generation and stored.entry >= range.lower and stored.entry < range.upper
            join evsrc.documents document on document.generation = p_generation and document.key = stored.key
          where range.number = rarest and evsrc.has_entries(document.indexed, p_numbers, p_lowers, p_uppers, conditions)
      ) as matching
        where case when p_is_descending then (matching.entry, matching.key) < (p_after_entry, p_after_key)
          else (matching.entry, matching.key) > (p_after_entry, p_after_key) end
        order by case when p_is_descending then null else matching.entry end, case when p_is_descending then null else matching.key end,
          matching.entry desc, matching.key desc
        limit p_limit;
    return;
  end if;

  if p_from is null and equal_lower is not null then
    p_from := equal_lower;
    p_to := equal_lower || E'\x01';
    p_after_entry := equal_lower;
  end if;

  -- The place alone bounds the scan on one side, so that it begins there.
  if p_from is not null and p_is_descending then
    return query
      select document.key, document.document, document.revision, stored.entry
        from evsrc.document_entries stored
          join evsrc.documents document on document.generation = p_generation and document.key = stored.key
        where stored.generation = p_generation and stored.entry >= p_from and (stored.entry, stored.key) < (p_after_entry, p_after_key)
          and evsrc.has_entries(document.indexed, p_numbers, p_lowers, p_uppers, conditions)
        order by stored.entry desc, stored.key desc
        limit p_limit;
  elsif p_from is not null then
    return query
      select document.key, document.document, document.revision, stored.entry
        from evsrc.document_entries stored
          join evsrc.documents document on document.generation = p_generation and document.key = stored.key
        where stored.generation = p_generation and stored.entry < p_to and (stored.entry, stored.key) > (p_after_entry, p_after_key)
          and evsrc.has_entries(document.indexed, p_numbers, p_lowers, p_uppers, conditions)
        order by stored.entry, stored.key
        limit p_limit;
  elsif p_is_descending then
    return query
      select document.key, document.document, document.revision, '' as entry
        from evsrc.documents document
        where document.generation = p_generation and document.key < p_after_key
          and evsrc.has_entries(document.indexed, p_numbers, p_lowers, p_uppers, conditions)
        order by document.key desc
        limit p_limit;
  else
    return query
      select document.key, document.document, document.revision, '' as entry
        from evsrc.documents document
        where document.generation = p_generation and document.key > p_after_key
          and evsrc.has_entries(document.indexed, p_numbers, p_lowers, p_uppers, conditions)
        order by document.key
        limit p_limit;
  end if;
end $$;

-- Returns the different lists of names in the first elements of documents.indexed: one lookup in documents_names for each.
create function evsrc.indexed_names(p_generation text) returns setof text language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
  names text;
begin
  select coalesce(document.indexed[1], '') into names from evsrc.documents document
    where document.generation = p_generation order by document.generation, coalesce(document.indexed[1], '') limit 1;
  while names is not null loop
    return next names;
    select coalesce(document.indexed[1], '') into names from evsrc.documents document
      where document.generation = p_generation and coalesce(document.indexed[1], '') > names
      order by document.generation, coalesce(document.indexed[1], '') limit 1;
  end loop;
end $$;

-- Returns whether every document of a generation has all of these indexes, given as ,<name>=<form>,
create function evsrc.is_indexed(p_generation text, p_names text[]) returns boolean language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return cardinality(p_names) = 0 or not exists (
    select from evsrc.indexed_names(p_generation) as found(names), unnest(p_names) as needed(name)
      where position(needed.name in found.names) = 0
  );
end $$;

create sequence evsrc.revisions as bigint;

-- The inline projections that programs run in the transactions of their appends. Each append compares the projections that it runs with
-- these rows (see record_inline_gaps). Without a row, or with a gap, reads of the documents are refused.
create table evsrc.inline_projections (
  projection text collate "C" primary key,
  -- Whether it keeps documents or has handlers. An append that runs the other kind counts as one without the projection.
  keeps text collate "C" not null check (keeps in ('documents', 'handlers')),
  -- The events that it reads: of these types, with all of these tags, in streams whose name begins so.
  types text[] collate "C" not null,
  tags text[] collate "C",
  stream_prefix text collate "C",
  -- The current events that a stored type decodes to and that it ignores, by stored type; null if there are none.
  ignores jsonb,
  -- Whether an append of such an event without the projection is rejected; otherwise it is a gap.
  required boolean not null default false,
  -- Changes when the documents are made from the log again. A reader that sees one value before and after a read has read no gap.
  edition bigint not null default nextval('evsrc.revisions'),
  -- While a program exchanges the documents, in several transactions: until when no other program begins to, and the session of its last step.
  exchanged_until timestamptz,
  exchanged_by integer
);

-- Events that were written without an inline projection that reads them. Each append inserts rows of its own, because a column of
-- inline_projections would make appends wait for each other, and because another append's gap may be closed before this one commits.
create table evsrc.inline_gaps (
  projection text collate "C" not null,
  "position" bigint not null,
  -- False if the projection does not read the event, and an append of a program with another definition has changed documents by it.
  is_read boolean not null,
  primary key (projection, "position")
);

-- The processes that work on a generation, or are ready to. The partitions are divided by their number.
create table evsrc.workers (
  generation text collate "C" not null,
  owner text collate "C" not null,
  -- What its code reads, as in checkpoints; null while it stops, and claims nothing more.
  reads text collate "C",
  -- The number of partitions in its definition. The checkpoints change to it once no process has their number.
  partitions integer not null,
  -- The consumer, another version, that waits to continue from the checkpoints. The process then does not work on the generation; those that do give
  -- back their partitions.
  successor text collate "C",
  -- Whether the process calls Checkpoints.reset, which waits for all partitions. It does not work on the generation either.
  resets boolean not null default false,
  -- Until then the process counts; each heartbeat extends it.
  expires_at timestamptz not null,
  -- The time of the last heartbeat.
  heartbeat_at timestamptz not null default clock_timestamp(),
  primary key (generation, owner)
);

-- The checkpoint and the lease of each partition of a generation.
create table evsrc.checkpoints (
  generation text collate "C" not null,
  partition integer not null,
  -- 0 after rebuild_event_tags has found that keys belong to other partitions than before.
  partitions integer not null,
  -- What the partitions are divided by, and what is parked: 'stream', 'document' or 'tag:<name>'.
  partitioned_by text collate "C" not null,
  -- What the code reads that has processed the log up to the position, as JSON: whether it keeps documents, the types, the filter.
  reads text collate "C" not null,
  -- What other code reads that waits until the owner gives the partition back. The owner saves what it has handled meanwhile, but only up to an event
  -- that the other code alone reads.
  taken_by text collate "C",
  position bigint not null default 0,
  -- The id of the event there. A log that has another event at this position was set back, and is not read on.
  event_id uuid,
  -- How many events the log has after count_since and up to this position, whatever the consumer handles; null if it is not known.
  count_since bigint,
  count_events bigint,
  -- The number of deliveries, each of an event under one of its keys, and the exclusive or of their digests.
  applied bigint not null default 0,
  digest bigint not null default 0,
  -- Increases with every change of owner. A write under an older epoch is rejected.
  epoch bigint not null default 0,
  owner text collate "C",
  -- Until then no other process may claim the partition. Without an owner, no process may: a cut-over holds the generation.
  leased_until timestamptz,
  -- The time of the owner's last heartbeat, and that at which the checkpoint last moved or an event behind it was applied.
  heartbeat_at timestamptz not null default clock_timestamp(),
  advanced_at timestamptz,
  -- What the owner had in hand at that heartbeat, and since when: the event whose handler ran, or no event while handlers waited for a
  -- connection for their transaction. An event that began before advanced_at has ended.
  in_hand_position bigint,
  in_hand_type text collate "C",
  in_hand_since timestamptz,
  -- What was read before each change_reads since reset_checkpoints. Each has the checkpoint at the change, and the keys that were parked, with the
  -- position from which on the events of the key waited.
  earlier_reads jsonb not null default '[]',
  -- The delivery log begins after this position: where a subscription from "now" began, or that of reset_checkpoints.
  delivery_from bigint not null default 0,
  -- Events up to this position are not for the consumer: where a subscription from "now" began, or a lower position of reset_checkpoints.
  starts_after bigint not null default 0,
  -- What parking_log has for the partition begins after this entry: since reset_checkpoints, or since repartition, with which the delivery log begins
  -- again, too. Times would not do: a clock may be set back.
  logged_after bigint not null default 0,
  -- The former partitions, with their checkpoints. An event up to the checkpoint that its key had there is not processed again. The same in all
  -- rows of a generation: [{"partitions": 4, "by": "stream", "positions": ["7", …], "ids": [the id of the event there, …]}, …], and the highest
  -- of these positions.
  former json,
  former_to bigint not null default 0,
  -- The consumer, another version, that has continued from here. The checkpoints do not move any more.
  continued_by text collate "C",
  primary key (generation, partition)
);

-- The delivery log: the events applied, in segments of up to 256 events, or of one page. A segment reaches from its first position
-- to the first position of the next one.
create table evsrc.delivery_log (
  generation text collate "C" not null,
  partition integer not null,
  first bigint not null,
  events integer not null,
  digest bigint not null,
  primary key (generation, partition, first)
);

-- The parked keys of a consumer, each with the event that it could not process.
create table evsrc.parked (
  generation text collate "C" not null,
  partition integer not null,
  -- The name of a stream, the key of a document, or a tag as <name>:<value>. Empty if the key is unknown: then the partition waits.
  key text collate "C" not null,
  stream text collate "C" not null,
  version bigint not null,
  position bigint not null,
  event_id uuid not null,
  type text collate "C" not null,
  error text not null,
  attempts integer not null default 1,
  parked_at timestamptz not null default clock_timestamp(),
  -- The operator's request, which the partition's owner carries out. One request may be for many keys.
  request text check (request in ('retry', 'skip')),
  request_id text collate "C",
  requested_by text,
  request_reason text,
  -- Whether the owner frees the key: the events of the key up to this one are applied or skipped, and those after it wait.
  freeing boolean not null default false check (not freeing or request is not null),
  primary key (generation, partition, key)
);

create index parked_position on evsrc.parked (generation, position);
create index parked_key on evsrc.parked (generation, key);
create index parked_requested on evsrc.parked (generation, partition, position) where request is not null;
create index parked_request_id on evsrc.parked (request_id) where request_id is not null;

-- What happened to parked keys. Rows stay for good.
create table evsrc.parking_log (
  id bigint generated always as identity primary key,
  generation text collate "C" not null,
  partition integer not null,
  key text collate "C" not null,
  stream text collate "C" not null,
  position bigint not null,
  event_id uuid not null,
  -- moved: the key has come to this partition, parked at the position, or after it if it was being freed
  action text not null check (action in ('parked', 'retried', 'skipped', 'failed', 'moved')),
  detail text,
  actor text,
  -- The request that led to it.
  request_id text collate "C",
  at timestamptz not null default clock_timestamp()
);

create index parking_log_generation on evsrc.parking_log (generation, id);
create index parking_log_key on evsrc.parking_log (generation, key, id);
create index parking_log_request on evsrc.parking_log (request_id, id) where request_id is not null;
create index parking_log_skipped on evsrc.parking_log (generation, partition, position) where action = 'skipped';
create index parking_log_moved on evsrc.parking_log (generation, partition) where action = 'moved';

-- Raises an exception if a consumer is an inline projection, or becomes one at the moment: with checkpoints, its documents would have
-- some events twice. An inline projection takes the lock exclusively when it starts, and fails if it finds generations.
create function evsrc.require_not_inline(p_consumer text) returns void language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  if not pg_try_advisory_xact_lock_shared('evsrc.inline_projections'::regclass::oid::integer, hashtext(p_consumer))
    or exists (select from evsrc.inline_projections inline where inline.projection = p_consumer)
  then
    raise exception '% is an inline projection in this log, so it cannot run in the background', p_consumer
      using errcode = 'EV001', hint = 'Raise its version, or call Projector.retireInline when no program runs it inline any more.';
  end if;
end $$;

-- Raises an exception if a generation that has never run has documents: those of a retired inline projection that are not removed yet, or
-- documents that were restored without checkpoints. A worker would fold their events a second time.
create function evsrc.require_no_documents(p_generation text) returns void language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  if exists (select from evsrc.documents document where document.generation = p_generation)
    and not exists (select from evsrc.checkpoints checkpoint where checkpoint.generation = p_generation)
    and not exists (select from evsrc.generations stored where stored.generation = p_generation and stored.discarded_at is not null)
  then
    raise exception '% has documents but no checkpoints, so it cannot run in the background: the documents are of a retired inline projection', p_generation
      using errcode = 'EV001', hint = 'Call Projector.retireInline, also a second time, to remove them, or raise its version.';
  end if;
end $$;

-- Begins the leases and heartbeats of a generation again that are in the future, because the clock of the server was set back, as by a failover to
-- a server with another clock. What a dead process has left would otherwise last for that much longer, and look alive. An owner that lives has the
-- time of a whole lease to send its next heartbeat.
create function evsrc.restart_future_leases(p_generation text) returns void language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  -- Not the time at which the statement began: it may have waited for the heartbeat of an owner.
  update evsrc.checkpoints checkpoint
    set leased_until = clock_timestamp() + (checkpoint.leased_until - checkpoint.heartbeat_at), heartbeat_at = clock_timestamp()
    where checkpoint.generation = p_generation and checkpoint.heartbeat_at > clock_timestamp() + interval '1 second';
  update evsrc.workers worker
    set expires_at = clock_timestamp() + (worker.expires_at - worker.heartbeat_at), heartbeat_at = clock_timestamp()
    where worker.generation = p_generation and worker.heartbeat_at > clock_timestamp() + interval '1 second';
end $$;

-- Processes a heartbeat: renews the leases of p_owner on the generation, and claims free or expired partitions up to its
-- assignment.
--   p_generation  null: the consumer's active generation
--   p_reads       what the worker's code reads; partitions with other reads are not claimed (see change_reads)
--   p_renew_only  claim nothing, and do not count as a worker
--   p_stops       the same, but the number of partitions does not change meanwhile, so that others work on those that are given back
--   p_in_hand_partitions, p_in_hand_positions, p_in_hand_types, p_in_hand_millis
--                 what the owner has in hand in its partitions, one element each: the event, or 0 and '' while handlers wait for a
--                 connection, and for how long
-- Returns a row for each partition that p_owner has, or a single row without a partition. Every row has the generation, its number of
-- partitions, the size of the assignment, the milliseconds until another owner's first lease ends, and whether partitions have other reads:
-- null if none has, true if a worker with these reads claims partitions. change is null, or:
--   drain        the worker is to give its partitions back, because another version is to continue, the number of partitions is to change, code
--                that reads more takes them over, or an operator resets the checkpoints
--   repartition  no partition is leased, and no worker has their number: the worker may call repartition
--   continued    another version has continued, and nothing is assigned
-- is_taking_over  whether other workers are to give partitions back to code with these reads
-- is_behind       whether a partition needs the former ones; these are the same for all, and only in the first such row
-- taken_from      the former owner of a partition that this call has claimed, if it had not given the partition back when its lease ended
create function evsrc.claim_partitions(
  p_consumer text, p_generation text, p_owner text, p_partitions integer, p_partitioned_by text, p_reads text, p_lease interval,
  p_renew_only boolean, p_stops boolean, p_in_hand_partitions integer[] default '{}', p_in_hand_positions bigint[] default '{}',
  p_in_hand_types text[] default '{}', p_in_hand_millis bigint[] default '{}'
) returns table (
  generation text, partitions integer, change text, continued_by text, assignment_size integer, next_lease_ends_in double precision,
  other_reads_alive boolean, is_taking_over boolean, partition integer, epoch bigint, "position" bigint, event_id uuid, count_since bigint,
  count_events bigint, former json, is_behind boolean, requested boolean, taken_from text
) language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  now_ timestamptz := clock_timestamp();
  owned integer;
  stored evsrc.checkpoints;
  is_pending boolean;
  taken_partitions integer[];
  taken_owners text[];
begin
  -- An event with several values of a tag is read by the server's hash and divided by that of partitionOf in src/core/partitionHash.ts.
  if p_partitions > 1 and p_partitioned_by like 'tag:%' and hashtextextended('evsrc', 0) & 2147483647 <> 890268965 then
    raise exception '% has % partitions by %, but this server has another hash function', p_consumer, p_partitions, p_partitioned_by
      using errcode = 'EV001', hint = 'Use one partition, or partition by "stream" or "document".';
  end if;
  -- Not during a cut-over: the lease would be on the generation that it replaces.
  perform pg_advisory_xact_lock_shared('evsrc.active_generations'::regclass::oid::integer, hashtext(p_consumer));
  generation := coalesce(p_generation, evsrc.active_generation(p_consumer));
  perform evsrc.restart_future_leases(generation);
  if p_renew_only and not p_stops then
    delete from evsrc.workers worker where worker.generation = claim_partitions.generation and worker.owner = p_owner;
  else
    insert into evsrc.workers as worker (generation, owner, reads, partitions, expires_at)
      values (generation, p_owner, case when not p_stops then p_reads end, p_partitions, now_ + p_lease)
      on conflict on constraint workers_pkey do update
        set expires_at = excluded.expires_at, reads = excluded.reads, heartbeat_at = excluded.heartbeat_at;
  end if;
  delete from evsrc.workers worker
    where worker.generation = claim_partitions.generation and worker.expires_at < now_ - interval '1 minute';
  if not exists (select from evsrc.checkpoints checkpoint where checkpoint.generation = claim_partitions.generation) then
    perform evsrc.require_not_inline(p_consumer);
    -- No page of such documents is removed meanwhile.
    perform evsrc.require_no_documents(generation);
    perform pg_advisory_xact_lock('evsrc.checkpoints'::regclass::oid::integer, hashtext(generation));
    insert into evsrc.checkpoints (generation, partition, partitions, partitioned_by, reads)
      select claim_partitions.generation, number, p_partitions, p_partitioned_by, p_reads from generate_series(0, p_partitions - 1) as number
        where not exists (select from evsrc.checkpoints checkpoint where checkpoint.generation = claim_partitions.generation)
      on conflict do nothing;
  end if;
  select * into stored from evsrc.checkpoints checkpoint where checkpoint.generation = claim_partitions.generation limit 1;
  partitions := stored.partitions;
  if partitions = 0 then
    raise exception 'the partitions of % are not those of before: its log was restored on a server with another hash function', generation
      using errcode = 'EV001', hint = 'Rebuild it, or raise its version.';
  elsif stored.partitioned_by <> p_partitioned_by then
    raise exception '% was started with % partitions by %, not by %', generation, stored.partitions, stored.partitioned_by, p_partitioned_by
      using errcode = 'EV001', hint = 'Rebuild it, or raise its version.';
  end if;
  -- Code that no longer runs must not keep a partition from others.
  update evsrc.checkpoints checkpoint set taken_by = null
    where checkpoint.generation = claim_partitions.generation and checkpoint.taken_by is not null and not exists (
      select from evsrc.workers worker
        where worker.generation = checkpoint.generation and worker.reads = checkpoint.taken_by and worker.expires_at >= now_
    );
  select ceil(stored.partitions::numeric / greatest(1, count(*) filter (where worker.reads = p_reads))),
      count(*) > 0 and bool_and(worker.partitions <> stored.partitions)
    into assignment_size, is_pending
    from evsrc.workers worker
    where worker.generation = claim_partitions.generation and worker.expires_at >= now_ and worker.successor is null and not worker.resets;
  continued_by := stored.continued_by;
  if stored.continued_by is not null then
    change := 'continued';
    assignment_size := 0;
  elsif exists (
    select from evsrc.workers worker
      where worker.generation = claim_partitions.generation and worker.expires_at >= now_ and (worker.successor is not null or worker.resets)
  ) then
    change := 'drain';
    assignment_size := 0;
  elsif exists (
    select from evsrc.checkpoints checkpoint
      where checkpoint.generation = claim_partitions.generation and checkpoint.reads = p_reads and checkpoint.taken_by is not null
  ) then
    change := 'drain';
    assignment_size := 0;
  elsif is_pending and evsrc.repartition_obstacle(generation, p_reads) is null then
    change := case
      when not (p_renew_only or p_stops) and not exists (
        select from evsrc.checkpoints checkpoint where checkpoint.generation = claim_partitions.generation and checkpoint.leased_until >= now_
      ) then 'repartition' else 'drain' end;
    assignment_size := 0;
  end if;
  update evsrc.checkpoints checkpoint set leased_until = now_ + p_lease, heartbeat_at = now_,
      in_hand_position = nullif(p_in_hand_positions[array_position(p_in_hand_partitions, checkpoint.partition)], 0),
      in_hand_type = nullif(p_in_hand_types[array_position(p_in_hand_partitions, checkpoint.partition)], ''),
      in_hand_since = now_ - p_in_hand_millis[array_position(p_in_hand_partitions, checkpoint.partition)] * interval '1 millisecond'
    where checkpoint.generation = claim_partitions.generation and checkpoint.owner = p_owner;
  get diagnostics owned = row_count;
  if owned < assignment_size and not (p_renew_only or p_stops) then
    with taken as (
      update evsrc.checkpoints checkpoint
        set owner = p_owner, epoch = checkpoint.epoch + 1, leased_until = now_ + p_lease, heartbeat_at = now_,
          in_hand_position = null, in_hand_type = null, in_hand_since = null
        from (
          select candidate.partition, candidate.owner as former_owner from evsrc.checkpoints candidate
            where candidate.generation = claim_partitions.generation and candidate.reads = p_reads
              and (candidate.leased_until is null or candidate.leased_until < now_)
            order by candidate.partition limit assignment_size - owned
            for update skip locked
        ) as free
        where checkpoint.generation = claim_partitions.generation and checkpoint.partition = free.partition
        returning free.partition, free.former_owner
    )
    select array_agg(taken.partition), array_agg(taken.former_owner) into taken_partitions, taken_owners
      from taken where taken.former_owner is not null;
  end if;
  select 1000 * extract(epoch from min(checkpoint.leased_until) - now_) into next_lease_ends_in from evsrc.checkpoints checkpoint
    where checkpoint.generation = claim_partitions.generation and checkpoint.owner is distinct from p_owner;
  -- A worker that renews only has met an event of newer code, and leaves what it releases to others.
  select bool_or(exists (select from evsrc.workers worker
      where worker.generation = checkpoint.generation and worker.reads = checkpoint.reads and worker.expires_at >= now_)
    ) into other_reads_alive
    from evsrc.checkpoints checkpoint where checkpoint.generation = claim_partitions.generation and checkpoint.reads <> p_reads;
  is_taking_over := exists (select from evsrc.checkpoints checkpoint
    where checkpoint.generation = claim_partitions.generation and checkpoint.taken_by = p_reads);
  return query
    select claim_partitions.generation, claim_partitions.partitions, claim_partitions.change, claim_partitions.continued_by,
        claim_partitions.assignment_size, claim_partitions.next_lease_ends_in,
        claim_partitions.other_reads_alive, claim_partitions.is_taking_over, checkpoint.partition, checkpoint.epoch,
        checkpoint.position, checkpoint.event_id, checkpoint.count_since, checkpoint.count_events,
        case when followed.is_behind and row_number() over (partition by followed.is_behind order by checkpoint.partition) = 1
          then checkpoint.former end,
        followed.is_behind,
        exists (select from evsrc.parked
          where parked.generation = checkpoint.generation and parked.partition = checkpoint.partition and parked.request is not null),
        taken_owners[array_position(taken_partitions, checkpoint.partition)]
      from evsrc.checkpoints checkpoint cross join lateral (
        select checkpoint.position < checkpoint.former_to
          -- Of the events that were waiting before the change, those that were processed under other keys are left out. Those that would change
          -- a document out of the order of its streams fail.
          or checkpoint.former_to > 0 and exists (select from evsrc.parked
            where parked.generation = checkpoint.generation and parked.partition = checkpoint.partition
              and parked.position <= checkpoint.former_to) as is_behind
      ) as followed
      where checkpoint.generation = claim_partitions.generation and checkpoint.owner = p_owner
      order by checkpoint.partition;
  if not found then
    return next;
  end if;
end $$;

-- Changes what the code of a partition reads from p_from to p_to, if its checkpoint is still at p_position, under p_epoch. The owner loses the
-- partition, and no worker may claim it before its lease ends: the owner may be handling events.
--   p_takes_over  whether to do so while the partition is leased; code that reads all that is read, and more, does
--   p_drains      whether a worker that owns the partition saves what it has handled, and gives the partition back, before
--   p_waiting_keys, p_waiting_positions, p_waiting_freeing  keys that must still be parked as they were read
-- Returns 'changed', or 'draining' if an owner is to give the partition back: call it again. With nothing written it returns 'freed' if one of these
-- keys is free or parked at another event, and otherwise 'unchanged'.
create function evsrc.change_reads(
  p_generation text, p_partition integer, p_epoch bigint, p_position bigint, p_from text, p_to text, p_takes_over boolean, p_drains boolean,
  p_waiting_keys text[], p_waiting_positions bigint[], p_waiting_freeing boolean[]
) returns text language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  now_ timestamptz := clock_timestamp();
  checkpoint evsrc.checkpoints;
  reached jsonb;
begin
  -- The owner writes parked keys after it has locked this row.
  select * into checkpoint from evsrc.checkpoints
    where generation = p_generation and partition = p_partition and epoch = p_epoch and position = p_position and reads = p_from
      and (p_takes_over or leased_until is null or leased_until < now_)
    for update;
  if not found then
    return 'unchanged';
  end if;
  if p_drains and checkpoint.owner is not null and checkpoint.leased_until >= now_ then
    if checkpoint.taken_by is not null and checkpoint.taken_by <> p_to and exists (
      select from evsrc.workers worker where worker.generation = p_generation and worker.reads = checkpoint.taken_by and worker.expires_at >= now_
    ) then
      return 'unchanged';
    end if;
    update evsrc.checkpoints set taken_by = p_to where generation = p_generation and partition = p_partition;
    return 'draining';
  end if;
  if exists (
    select from unnest(p_waiting_keys, p_waiting_positions, p_waiting_freeing) as waiting(key, position, freeing)
      where not exists (
        select from evsrc.parked stored
          where stored.generation = p_generation and stored.partition = p_partition and stored.key = waiting.key
            and stored.position = waiting.position and stored.freeing = waiting.freeing
      )
  ) then
    return 'freed';
  end if;
  select jsonb_build_object('position', p_position::text, 'parked', coalesce(
      jsonb_agg(jsonb_build_array(stored.key, (stored.position + stored.freeing::integer)::text) order by stored.key), '[]'
    )) into reached
    from evsrc.parked stored where stored.generation = p_generation and stored.partition = p_partition;
  update evsrc.checkpoints
    set reads = p_to, taken_by = null, epoch = epoch + 1, owner = null,
      -- Since a change at the same place, nothing was processed.
      earlier_reads = case when (earlier_reads -> -1) - 'reads' = reached then earlier_reads
        else earlier_reads || (reached || jsonb_build_object('reads', p_from)) end
    where generation = p_generation and partition = p_partition;
  return 'changed';
end $$;

-- Returns the partitions of a generation, with their checkpoints, as the former ones of the partitions that follow them: all partitions of before
-- without those that every checkpoint and every parked key has passed.
create function evsrc.former_partitions(p_generation text) returns json language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select json_agg(one.layout) from (
    select before.layout
      from (select former from evsrc.checkpoints where generation = p_generation order by partition limit 1) as first,
        json_array_elements(first.former) as before(layout)
      where (select max(passed::bigint) from json_array_elements_text(before.layout->'positions') as passed)
        > least(
          (select min(position) from evsrc.checkpoints where generation = p_generation),
          (select min(position) - 1 from evsrc.parked where generation = p_generation)
        )
    union all
    select json_build_object('partitions', count(*), 'by', max(partitioned_by), 'positions', json_agg(position::text order by partition),
        'ids', json_agg(event_id order by partition))
      from evsrc.checkpoints where generation = p_generation
  ) as one
$$;

-- Returns whether the partitions that follow those of a generation would have too many former ones. A worker reads them with every heartbeat, and looks
-- into them for every event, as long as a partition or a parked key is behind them.
create function evsrc.has_many_former(p_generation text) returns boolean language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select count(*) > 32 or sum((layout->>'partitions')::integer) > 2048
    from json_array_elements(evsrc.former_partitions(p_generation)) as layout
$$;

-- Returns why the number of partitions of a generation cannot change, or null:
--   reads      the code of the worker has not taken over all partitions yet; null as p_reads leaves this out
--   hash       the server has another hash function, so it cannot tell to which partition a key belongs
--   waiting    a partition waits at a parked event of unknown key
--   skipped    such an event was skipped, and keys are parked since before it: it is not known of each whether the event is skipped
--   documents  one partition by stream has written documents, so it is not known which stream feeds each of them
--   former     the number has changed too often since the slowest partition, or the first parked key, was there
create function evsrc.repartition_obstacle(p_generation text, p_reads text) returns text language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select case
    when exists (select from evsrc.checkpoints checkpoint where checkpoint.generation = p_generation and checkpoint.reads <> p_reads) then 'reads'
    when hashtextextended('evsrc', 0) & 2147483647 <> 890268965 then 'hash'
    when exists (select from evsrc.parked where parked.generation = p_generation and parked.key = '') then 'waiting'
    when exists (
      select from evsrc.checkpoints checkpoint
        join evsrc.parked on parked.generation = checkpoint.generation and parked.partition = checkpoint.partition
        join evsrc.parking_log entry on entry.generation = checkpoint.generation and entry.partition = checkpoint.partition
          and entry.action = 'skipped' and entry.key = '' and entry.position >= parked.position
          and entry.id > checkpoint.logged_after
        where checkpoint.generation = p_generation and checkpoint.partitioned_by in ('document', 'instance')
    ) then 'skipped'
    when exists (
        select from evsrc.checkpoints checkpoint
          where checkpoint.generation = p_generation and checkpoint.partitions = 1 and checkpoint.partitioned_by = 'stream'
      )
      and exists (select from evsrc.documents document where document.generation = p_generation) then 'documents'
    when evsrc.has_many_former(p_generation) then 'former'
  end
$$;

-- Returns the number of the partition of a key: the one that the log's filter and partitionOf in src/core/partitionHash.ts find.
create function evsrc.partition_of(p_key text, p_partitions integer) returns integer language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select ((hashtextextended(p_key collate "C", 0) & 2147483647) % p_partitions)::integer
$$;

-- Returns the last entry of a generation in the parking log; 0 without one. Owners write entries while they have locked a checkpoint, so a caller who
-- has locked all of them sees every entry that comes before.
create function evsrc.last_parking_entry(p_generation text) returns bigint language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(max(id), 0) from evsrc.parking_log where generation = p_generation
$$;

-- Divides the keys of a generation by another number of partitions, if it still has p_from partitions, none of them is leased, and there is no
-- obstacle. Each new partition starts at the lowest checkpoint; former has the old checkpoints, so that no event is processed again. The parked
-- keys move to their new partitions, and the delivery log begins again. Returns whether it has done so.
create function evsrc.repartition(p_consumer text, p_generation text, p_from integer, p_to integer, p_reads text)
returns boolean language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  now_ timestamptz := clock_timestamp();
  lowest evsrc.checkpoints;
  last_epoch bigint;
  last_position bigint;
  last_entry bigint;
  layouts json;
begin
  -- Neither during a cut-over nor beside another change: a cut-over compares the checkpoints of the same partitions.
  perform pg_advisory_xact_lock('evsrc.active_generations'::regclass::oid::integer, hashtext(p_consumer));
  perform from evsrc.checkpoints where generation = p_generation order by partition for update;
  if (select count(*) from evsrc.checkpoints where generation = p_generation and partitions = p_from and continued_by is null) <> p_from
    or exists (select from evsrc.checkpoints where generation = p_generation and leased_until >= now_)
    or evsrc.repartition_obstacle(p_generation, p_reads) is not null
  then
    return false;
  end if;
  select * into lowest from evsrc.checkpoints where generation = p_generation order by position, partition limit 1;
  select max(epoch), max(greatest(position, former_to)) into last_epoch, last_position from evsrc.checkpoints where generation = p_generation;
  layouts := evsrc.former_partitions(p_generation);
  last_entry := evsrc.last_parking_entry(p_generation);
  update evsrc.parked set partition = evsrc.partition_of(key, p_to) where generation = p_generation;
  insert into evsrc.parking_log (generation, partition, key, stream, position, event_id, action, detail, at)
    select generation, partition, key, stream, position + freeing::integer, event_id, 'moved', p_from || ' partitions became ' || p_to, now_
      from evsrc.parked where generation = p_generation;
  delete from evsrc.delivery_log where generation = p_generation;
  delete from evsrc.checkpoints where generation = p_generation;
  -- No write of a former owner has this epoch.
  insert into evsrc.checkpoints
      (generation, partition, partitions, partitioned_by, reads, position, event_id, count_since, count_events, epoch, advanced_at,
        delivery_from, starts_after, logged_after, former, former_to)
    select p_generation, number, p_to, lowest.partitioned_by, lowest.reads, lowest.position, lowest.event_id, lowest.count_since,
        lowest.count_events, last_epoch + 1, lowest.advanced_at, lowest.delivery_from, lowest.starts_after, last_entry, layouts, last_position
      from generate_series(0, p_to - 1) as number;
  return true;
end $$;

-- Lets a consumer continue where another version of it stands, p_from. Each partition starts at the lowest checkpoint of the other's active
-- generation; former has all of them, so that no event is processed again. The parked keys are copied, with their requests. From then on no
-- partition of the other version can be claimed.
--   p_owner, p_lease  the process that waits, and for how long the others leave the partitions to it
-- Returns one of the following. Only with 'draining' the workers of the other version stop.
--   continued  done, now or before
--   draining   a partition of the other version is leased; call it again
--   unstarted  the other version has never run
--   elsewhere  a third version has continued from there
--   parked     keys are parked, and have another meaning: the partitions are divided by something else
--   hash       the server has another hash function, so it cannot tell to which partition a key belongs
--   former     the partitions have changed too often since the slowest one, or the first parked key, was there
create function evsrc.continue_version(
  p_consumer text, p_from text, p_owner text, p_lease interval, p_partitions integer, p_partitioned_by text, p_reads text
) returns text language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  now_ timestamptz := clock_timestamp();
  former_generation text;
  lowest evsrc.checkpoints;
  last_position bigint;
begin
  perform pg_advisory_xact_lock('evsrc.active_generations'::regclass::oid::integer, hash)
    from (select distinct hashtext(id) as hash from unnest(array[p_consumer, p_from]) as id order by hash) as sorted;
  if exists (select from evsrc.checkpoints where generation = evsrc.active_generation(p_consumer)) then
    return 'continued';
  end if;
  former_generation := evsrc.active_generation(p_from);
  perform from evsrc.checkpoints where generation = former_generation order by partition for update;
  select * into lowest from evsrc.checkpoints where generation = former_generation order by position, partition limit 1;
  if not found then
    return 'unstarted';
  elsif lowest.continued_by is not null then
    return 'elsewhere';
  elsif lowest.partitions = 0 or hashtextextended('evsrc', 0) & 2147483647 <> 890268965 then
    return 'hash';
  elsif lowest.partitioned_by <> p_partitioned_by and exists (select from evsrc.parked where generation = former_generation) then
    return 'parked';
  elsif evsrc.has_many_former(former_generation) then
    return 'former';
  end if;
  if exists (select from evsrc.checkpoints where generation = former_generation and leased_until >= now_) then
    insert into evsrc.workers as worker (generation, owner, reads, partitions, successor, expires_at)
      values (former_generation, p_owner, p_reads, p_partitions, p_consumer, now_ + p_lease)
      on conflict on constraint workers_pkey do update set expires_at = excluded.expires_at, heartbeat_at = excluded.heartbeat_at;
    return 'draining';
  end if;
  select max(greatest(position, former_to)) into last_position from evsrc.checkpoints where generation = former_generation;
  insert into evsrc.checkpoints
      (generation, partition, partitions, partitioned_by, reads, position, event_id, count_since, count_events, delivery_from,
        starts_after, logged_after, former, former_to)
    select p_consumer, number, p_partitions, p_partitioned_by, p_reads, lowest.position, lowest.event_id, lowest.count_since,
        lowest.count_events, lowest.delivery_from, lowest.starts_after, evsrc.last_parking_entry(p_consumer),
        evsrc.former_partitions(former_generation), last_position
      from generate_series(0, p_partitions - 1) as number;
  insert into evsrc.parked
      (generation, partition, key, stream, version, position, event_id, type, error, attempts, parked_at, request, request_id, requested_by,
        request_reason, freeing)
    select p_consumer, evsrc.partition_of(key, p_partitions), key, stream, version, position, event_id, type, error, attempts, parked_at, request,
        request_id, requested_by, request_reason, freeing
      from evsrc.parked where generation = former_generation;
  insert into evsrc.parking_log (generation, partition, key, stream, position, event_id, action, detail, at)
    select generation, partition, key, stream, position + freeing::integer, event_id, 'moved', 'from ' || former_generation, now_
      from evsrc.parked where generation = p_consumer;
  -- No write of a former owner succeeds.
  update evsrc.checkpoints set continued_by = p_consumer, epoch = epoch + 1, owner = null, leased_until = null
    where generation = former_generation;
  delete from evsrc.workers where generation = former_generation and successor is not null;
  return 'continued';
end $$;

-- Releases all partitions of a generation that p_owner has, or one of them. Writes under their epochs are rejected from now on.
--   p_partition  null: all of them
create function evsrc.release_partitions(p_generation text, p_owner text, p_partition integer)
returns void language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  -- In one order for all callers that lock several rows.
  perform from evsrc.checkpoints where generation = p_generation and owner = p_owner order by partition for update;
  update evsrc.checkpoints set epoch = epoch + 1, owner = null, leased_until = null
    where generation = p_generation and owner = p_owner and (p_partition is null or partition = p_partition);
  if p_partition is null then
    delete from evsrc.workers where generation = p_generation and owner = p_owner;
  end if;
end $$;

-- Asks the workers of a generation to give back their partitions, and to claim none until p_duration has passed. Returns whether none is leased.
-- release_partitions withdraws the request.
create function evsrc.drain(p_generation text, p_owner text, p_duration interval) returns boolean language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  now_ timestamptz := clock_timestamp();
begin
  insert into evsrc.workers as worker (generation, owner, partitions, resets, expires_at)
    values (p_generation, p_owner, 0, true, now_ + p_duration)
    on conflict on constraint workers_pkey do update set expires_at = excluded.expires_at, heartbeat_at = excluded.heartbeat_at;
  return not exists (select from evsrc.checkpoints where generation = p_generation and leased_until >= now_);
end $$;

-- Moves the checkpoints of a generation to p_position, where the log has the event p_event_id. Writes under earlier epochs are rejected
-- from now on. The delivery log begins again there. Streams that are parked at a later event, or at one of p_lost, are parked no more. The
-- checkpoints are for code with p_reads.
--   p_even_if_leased  whether to take partitions from their owners; otherwise nothing changes while one is leased
-- Returns the checkpoints of before; none if nothing has changed.
create function evsrc.reset_checkpoints(
  p_consumer text, p_generation text, p_position bigint, p_event_id uuid, p_lost uuid[], p_reads text, p_even_if_leased boolean
) returns table (former_position bigint, former_id uuid) language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  -- No claim, and no change of the number of partitions, at the same time.
  perform pg_advisory_xact_lock('evsrc.active_generations'::regclass::oid::integer, hashtext(p_consumer));
  perform from evsrc.checkpoints where generation = p_generation order by partition for update;
  if exists (
    select from evsrc.checkpoints
      where generation = p_generation and (continued_by is not null or not p_even_if_leased and leased_until >= clock_timestamp())
  ) then
    return;
  end if;
  return query select position, event_id from evsrc.checkpoints where generation = p_generation order by partition;
  update evsrc.checkpoints
    set position = p_position, event_id = p_event_id, count_since = null, count_events = null, applied = 0, digest = 0, epoch = epoch + 1, owner = null, leased_until = null,
      reads = p_reads, taken_by = null, earlier_reads = '[]', delivery_from = p_position, starts_after = least(starts_after, p_position), logged_after = evsrc.last_parking_entry(p_generation), former = null, former_to = 0
    where generation = p_generation;
  delete from evsrc.delivery_log where generation = p_generation;
  delete from evsrc.parked where generation = p_generation and (position > p_position or event_id = any (p_lost));
end $$;

-- Writes and removes documents of a generation.
--   p_put_keys, p_put_documents, p_put_indexed  one element per document to write; the indexed entries of a document are joined by
--                                               the unit separator (U+001F)
--   p_removed_keys                              the documents to remove
--   p_put_streams                               null, or the stream that feeds each document to write; empty for none
create function evsrc.write_documents(
  p_generation text, p_put_keys text[], p_put_documents text[], p_put_indexed text[], p_removed_keys text[],
  p_put_streams text[] default null
) returns void language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  if cardinality(p_removed_keys) > 0 then
    delete from evsrc.documents where generation = p_generation and key = any (p_removed_keys);
  end if;
  if cardinality(p_put_keys) > 0 then
    insert into evsrc.documents (generation, key, document, indexed, revision, stream)
      select p_generation, put.key, put.document::json, coalesce(string_to_array(nullif(put.indexed, ''), E'\x1f'), '{}'),
          nextval('evsrc.revisions'), nullif(put.stream, '')
        from unnest(p_put_keys, p_put_documents, p_put_indexed, p_put_streams) as put(key, document, indexed, stream)
        order by put.key
      on conflict (generation, key) do update
        set document = excluded.document, indexed = excluded.indexed, revision = excluded.revision, stream = excluded.stream;
  end if;
end $$;

-- Writes and removes documents of several generations, one element for each.
--   p_documents  the document, or null to remove it; null to remove all
--   p_indexed    as for write_documents
create function evsrc.write_documents_of(p_generations text[], p_keys text[], p_documents text[], p_indexed text[])
returns void language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  if p_documents is null or array_position(p_documents, null) is not null then
    delete from evsrc.documents stored using unnest(p_generations, p_keys, p_documents) as put(generation, key, document)
      where put.document is null and stored.generation = put.generation and stored.key = put.key;
  end if;
  insert into evsrc.documents (generation, key, document, indexed, revision)
    select put.generation, put.key, put.document::json, coalesce(string_to_array(nullif(put.indexed, ''), E'\x1f'), '{}'),
        nextval('evsrc.revisions')
      from unnest(p_generations, p_keys, p_documents, p_indexed) as put(generation, key, document, indexed)
      where put.document is not null
      order by put.generation, put.key
    on conflict (generation, key) do update
      set document = excluded.document, indexed = excluded.indexed, revision = excluded.revision, stream = excluded.stream;
end $$;

-- Writes documents that were computed before appends, in the statement of the appends, which holds their locks and has found them unchanged.
--   p_outcomes    the outcomes of the appends: only the documents of those that are 'appended' are written
--   p_appends     for each document the number of its append, from 1
create function evsrc.write_documents_ahead(
  p_outcomes text[], p_appends integer[], p_generations text[], p_keys text[], p_documents text[], p_indexed text[]
) returns void language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  written record;
begin
  if 'appended' = all (p_outcomes) then
    perform evsrc.write_documents_of(p_generations, p_keys, p_documents, p_indexed);
    return;
  end if;
  select array_agg(put.generation) as generations, array_agg(put.key) as keys, array_agg(put.document) as documents,
      array_agg(put.indexed) as indexed
    into written
    from unnest(p_appends, p_generations, p_keys, p_documents, p_indexed) as put(append_number, generation, key, document, indexed)
    where p_outcomes[put.append_number] = 'appended';
  if written.keys is not null then
    perform evsrc.write_documents_of(written.generations, written.keys, written.documents, written.indexed);
  end if;
end $$;

-- Moves a checkpoint from p_from to p_to, extends the delivery log, and writes the documents of the events between them (see
-- write_documents), if the owner still has p_epoch.
--   p_segment_firsts, p_segment_events, p_segment_digests  one element per segment of the delivery log, in order
--   p_to_id, p_to_since, p_to_events                       the id of the event at p_to, and how many events the log has after
--                                                          p_to_since and up to it
--   p_taken_by  for which code that reads more the log was searched, and has no event up to p_to that it alone reads
--   p_of_log    whether this schema has the log, which must have the event at p_to: it may have been set back since the events were read
-- Returns 'advanced', or 'lost' with nothing written if another process has claimed the partition since, such code waits for it, or the log does
-- not have the event.
create function evsrc.advance_partition(
  p_generation text, p_partition integer, p_epoch bigint, p_from bigint, p_to bigint,
  p_put_keys text[], p_put_documents text[], p_put_indexed text[], p_removed_keys text[],
  p_segment_firsts bigint[], p_segment_events integer[], p_segment_digests bigint[], p_to_id uuid default null,
  p_to_since bigint default null, p_to_events bigint default null, p_put_streams text[] default null, p_taken_by text default null,
  p_of_log boolean default false
) returns text language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  now_ timestamptz := clock_timestamp();
  applied_events integer := coalesce((select sum(events) from unnest(p_segment_events) as events), 0);
  next_segment integer := 1;
begin
  update evsrc.checkpoints
    set position = p_to, event_id = p_to_id, count_since = p_to_since, count_events = p_to_events, heartbeat_at = now_, applied = applied + applied_events,
      digest = digest # coalesce((select bit_xor(segment_digest) from unnest(p_segment_digests) as segment_digest), 0),
      advanced_at = case when p_to <> p_from or applied_events > 0 then now_ else advanced_at end
    where generation = p_generation and partition = p_partition and epoch = p_epoch and position = p_from
      and (taken_by is null or taken_by = p_taken_by)
      and (not p_of_log or p_to_id is null or evsrc.has_events(array[p_to], array[p_to_id]));
  if not found then
    return 'lost';
  end if;
  if applied_events > 0 then
    -- The first segment extends the last one in the log, while that is small.
    update evsrc.delivery_log log set events = log.events + p_segment_events[1], digest = log.digest # p_segment_digests[1]
      where log.generation = p_generation and log.partition = p_partition and log.events + p_segment_events[1] <= 256
        and log.first = (
          select max(segment.first) from evsrc.delivery_log segment
            where segment.generation = p_generation and segment.partition = p_partition
        );
    if found then
      next_segment := 2;
    end if;
    insert into evsrc.delivery_log (generation, partition, first, events, digest)
      select p_generation, p_partition, segment.first, segment.events, segment.digest
        from unnest(p_segment_firsts[next_segment:], p_segment_events[next_segment:], p_segment_digests[next_segment:])
          as segment(first, events, digest);
  end if;
  perform evsrc.write_documents(p_generation, p_put_keys, p_put_documents, p_put_indexed, p_removed_keys, p_put_streams);
  return 'advanced';
end $$;

-- Does the same where several partitions could write the same documents: only if the documents that were read are unchanged.
--   p_read_keys, p_read_revisions  one element per document that was read; revision 0 if it did not exist
-- Returns 'advanced' or 'lost', or 'changed' with nothing written if another process has changed one of these documents.
create function evsrc.advance_partition_if_unchanged(
  p_generation text, p_partition integer, p_epoch bigint, p_from bigint, p_to bigint,
  p_read_keys text[], p_read_revisions bigint[],
  p_put_keys text[], p_put_documents text[], p_put_indexed text[], p_removed_keys text[],
  p_segment_firsts bigint[], p_segment_events integer[], p_segment_digests bigint[], p_to_id uuid default null,
  p_to_since bigint default null, p_to_events bigint default null, p_put_streams text[] default null, p_of_log boolean default false
) returns text language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  new_keys text[];
  inserted integer;
  outcome text;
begin
  -- Locks the documents that exist, in one order for all callers. A document that does not exist cannot be locked, so it is
  -- inserted, which detects another process's insert.
  perform from evsrc.documents where generation = p_generation and key = any (p_read_keys) order by key for update;
  if exists (
    select from unnest(p_read_keys, p_read_revisions) as read(key, revision)
      left join evsrc.documents stored on stored.generation = p_generation and stored.key = read.key
      where coalesce(stored.revision, 0) <> read.revision
  ) then
    return 'changed';
  end if;
  select coalesce(array_agg(read.key), '{}') into new_keys
    from unnest(p_read_keys, p_read_revisions) as read(key, revision) where read.revision = 0 and read.key = any (p_put_keys);
  insert into evsrc.documents (generation, key, document, indexed, revision, stream)
    select p_generation, put.key, put.document::json, coalesce(string_to_array(nullif(put.indexed, ''), E'\x1f'), '{}'),
        nextval('evsrc.revisions'), nullif(put.stream, '')
      from unnest(p_put_keys, p_put_documents, p_put_indexed, p_put_streams) as put(key, document, indexed, stream)
      where put.key = any (new_keys)
      order by put.key
    on conflict (generation, key) do nothing;
  get diagnostics inserted = row_count;
  if inserted < cardinality(new_keys) then
    raise exception 'changed' using errcode = 'EV002';
  end if;
  select evsrc.advance_partition(p_generation, p_partition, p_epoch, p_from, p_to,
      coalesce(array_agg(put.key), '{}'), coalesce(array_agg(put.document), '{}'), coalesce(array_agg(put.indexed), '{}'),
      -- Only documents that existed are locked. Another process may have inserted one of the others, which must stay.
      array(
        select read.key from unnest(p_read_keys, p_read_revisions) as read(key, revision)
          where read.revision <> 0 and read.key = any (p_removed_keys)
      ),
      p_segment_firsts, p_segment_events, p_segment_digests, p_to_id, p_to_since, p_to_events,
      coalesce(array_agg(put.stream), '{}'), p_of_log => p_of_log)
    into outcome
    from unnest(p_put_keys, p_put_documents, p_put_indexed, p_put_streams) as put(key, document, indexed, stream)
    where put.key <> all (new_keys);
  if outcome <> 'advanced' then
    raise exception '%', outcome using errcode = 'EV002';
  end if;
  return outcome;
exception when sqlstate 'EV002' then
  return sqlerrm;
end $$;

-- Adds deliveries behind the checkpoint to the delivery log: those of a key that was parked, unless they are before the begin of the log.
--   p_positions, p_digests  one element per delivery
create function evsrc.record_late_delivery(p_generation text, p_partition integer, p_positions bigint[], p_digests bigint[])
returns void language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  begins_after bigint;
begin
  select delivery_from into begins_after from evsrc.checkpoints where generation = p_generation and partition = p_partition;
  update evsrc.checkpoints
    set applied = applied + (select count(*) from unnest(p_positions) as late_position where late_position > begins_after),
      digest = digest # coalesce((
        select bit_xor(late_digest) from unnest(p_positions, p_digests) as delivery(late_position, late_digest)
          where late_position > begins_after
      ), 0),
      advanced_at = clock_timestamp()
    where generation = p_generation and partition = p_partition;
  -- Those before the first segment begin one.
  insert into evsrc.delivery_log as log (generation, partition, first, events, digest)
    select p_generation, p_partition, late.first, count(*), bit_xor(late.digest)
      from (
        select late_digest as digest, coalesce(
            (
              select max(segment.first) from evsrc.delivery_log segment
                where segment.generation = p_generation and segment.partition = p_partition and segment.first <= late_position
            ),
            min(late_position) over ()
          ) as first
          from unnest(p_positions, p_digests) as delivery(late_position, late_digest)
          where late_position > begins_after
      ) as late
      group by late.first
    on conflict (generation, partition, first) do update
      set events = log.events + excluded.events, digest = log.digest # excluded.digest;
end $$;

-- Parks keys, each from an event on that the consumer could not process. One element per key.
create function evsrc.park(
  p_generation text, p_partition integer, p_keys text[], p_streams text[], p_versions bigint[], p_positions bigint[], p_event_ids uuid[],
  p_types text[], p_errors text[], p_attempts integer[]
) returns void language sql volatile
set search_path = pg_catalog, pg_temp
as $$
  insert into evsrc.parked (generation, partition, key, stream, version, position, event_id, type, error, attempts)
    select p_generation, p_partition, failed.key, failed.stream, failed.version, failed.position, failed.event_id, failed.type, failed.error,
      failed.attempts
      from unnest(p_keys, p_streams, p_versions, p_positions, p_event_ids, p_types, p_errors, p_attempts)
        as failed(key, stream, version, position, event_id, type, error, attempts);
  insert into evsrc.parking_log (generation, partition, key, stream, position, event_id, action, detail)
    select p_generation, p_partition, failed.key, failed.stream, failed.position, failed.event_id, 'parked', failed.error
      from unnest(p_keys, p_streams, p_positions, p_event_ids, p_errors) as failed(key, stream, position, event_id, error);
$$;

-- Writes the results of retries and skips for keys of a partition, with their entries in the parking log. One element per key.
--   p_positions       where each key is parked
--   p_request_ids     the request of each key as it was read
--   p_actions         what happened to the event there; empty for a key that was being freed
--   p_next_positions  the event at which the key is parked again, or which it has reached while it is being freed; 0 if it is free
--   p_freeing         whether it is being freed
-- Returns the keys whose request was withdrawn or replaced in the meantime (a retry by another retry is the same), or null if one of them is parked
-- there no more. The checkpoint does not move, so only this shows that another transaction has done the same. Unless the result is empty, nothing
-- is written.
create function evsrc.unpark(
  p_generation text, p_partition integer, p_keys text[], p_positions bigint[], p_request_ids text[], p_actions text[],
  p_next_streams text[], p_next_versions bigint[], p_next_positions bigint[], p_next_event_ids uuid[], p_next_types text[], p_next_errors text[],
  p_next_attempts integer[], p_freeing boolean[]
) returns text[] language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  now_ timestamptz := clock_timestamp();
  stored evsrc.parked;
  stored_request text;
  stored_request_id text;
  changed text[] := '{}';
begin
  -- Key by key: joins with the arrays would be planned without an idea of their length. The order is that of request_parked.
  for number in 1 .. cardinality(p_keys) loop
    select request, request_id into stored_request, stored_request_id from evsrc.parked
      where generation = p_generation and partition = p_partition and key = p_keys[number] and position = p_positions[number]
      for update;
    if not found then
      return null;
    end if;
    -- The request of a key that is being freed cannot change, but it may be another than the one that its first events were read with.
    if coalesce(stored_request_id, '') <> p_request_ids[number] and p_actions[number] <> ''
      and (stored_request = 'retry' and p_actions[number] in ('retried', 'failed')) is not true
    then
      changed := array_append(changed, p_keys[number]);
    end if;
  end loop;
  if cardinality(changed) > 0 then
    return changed;
  end if;
  for number in 1 .. cardinality(p_keys) loop
    select * into stored from evsrc.parked where generation = p_generation and partition = p_partition and key = p_keys[number];
    if p_actions[number] <> '' then
      insert into evsrc.parking_log (generation, partition, key, stream, position, event_id, action, detail, actor, request_id)
        values (p_generation, p_partition, stored.key, stored.stream, stored.position, stored.event_id, p_actions[number],
          case when p_actions[number] = 'failed' then p_next_errors[number] else stored.request_reason end, stored.requested_by,
          stored.request_id);
    end if;
    if p_next_positions[number] = 0 then
      delete from evsrc.parked where generation = p_generation and partition = p_partition and key = stored.key;
      continue;
    end if;
    if p_freeing[number] then
      update evsrc.parked
        set stream = p_next_streams[number], version = p_next_versions[number], position = p_next_positions[number],
          event_id = p_next_event_ids[number], type = p_next_types[number], freeing = true
        where generation = p_generation and partition = p_partition and key = stored.key;
      continue;
    end if;
    if p_next_positions[number] <> stored.position then
      insert into evsrc.parking_log (generation, partition, key, stream, position, event_id, action, detail, request_id)
        values (p_generation, p_partition, stored.key, p_next_streams[number], p_next_positions[number], p_next_event_ids[number], 'parked',
          p_next_errors[number], stored.request_id);
      stored.parked_at := now_;
      stored.attempts := 0;
    end if;
    update evsrc.parked
      set stream = p_next_streams[number], version = p_next_versions[number], position = p_next_positions[number],
        event_id = p_next_event_ids[number], type = p_next_types[number], error = p_next_errors[number],
        attempts = stored.attempts + p_next_attempts[number], parked_at = stored.parked_at, freeing = false,
        request = null, request_id = null, requested_by = null, request_reason = null
      where generation = p_generation and partition = p_partition and key = stored.key;
  end loop;
  return changed;
end $$;

-- Sets the request for keys that are parked at these positions and that are not being freed, or withdraws it. One element per key. A key is in one
-- partition, which may have changed since it was read; only an unknown key is in several.
--   p_request  null: withdraws it
-- Returns the number of keys.
create function evsrc.request_parked(
  p_generation text, p_partitions integer[], p_keys text[], p_positions bigint[],
  p_request text, p_request_id text, p_requested_by text, p_request_reason text
) returns integer language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  requested integer := 0;
begin
  for number in 1 .. cardinality(p_keys) loop
    update evsrc.parked
      set request = p_request, request_id = p_request_id, requested_by = p_requested_by, request_reason = p_request_reason
      where generation = p_generation and key = p_keys[number] and position = p_positions[number]
        and (partition = p_partitions[number] or p_keys[number] <> '') and not freeing and (p_request is not null or request is not null);
    if found then
      requested := requested + 1;
    end if;
  end loop;
  return requested;
end $$;

insert into evsrc.migrations (migration_id, name) values (2, '0002_projections') on conflict do nothing;
